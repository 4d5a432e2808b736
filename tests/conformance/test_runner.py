"""The runner itself: what it reads out of the suite's files, and what it calls a failure."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.conformance.shim import shimmed
from tests.conformance.suite import Check, Leg, Outcome, collected
from tests.conformance.table import all_well, complaints, rendered, verdict, verdicts

LEG = Leg("all", ("--suite", "all"))


def check(status: str, scenario: str = "ping") -> Check:
    return Check(scenario, "answers", status, "why")


def outcome(status: str, code: int = 0) -> Outcome:
    return Outcome(LEG, code, 1.0, {"ping": {"answers": check(status)}})


def written(folder: Path, scenario: str, *statuses: str) -> None:
    kept = folder / f"server-{scenario}-2026-11-20T11-15-00-979Z"
    kept.mkdir(parents=True)
    listed = [{"id": "answers", "name": "Answers", "status": status, "errorMessage": status} for status in statuses]
    (kept / "checks.json").write_text(json.dumps(listed))


def test_the_worst_of_a_checks_reports_counts(tmp_path: Path) -> None:
    written(tmp_path, "tools-list", "FAILURE", "SUCCESS")
    found = collected(tmp_path, ["tools-list"])
    assert [one.status for one in found["tools-list"].values()] == ["FAILURE"]


def test_a_scenario_in_a_folder_of_its_own_keeps_its_name(tmp_path: Path) -> None:
    written(tmp_path / "auth", "metadata", "SUCCESS")
    (tmp_path / "auth").joinpath("server-metadata-2026-11-20T11-15-00-979Z").rename(
        tmp_path / "auth" / "metadata-2026-11-20T11-15-00-979Z"
    )
    assert list(collected(tmp_path, ["auth/metadata"])) == ["auth/metadata"]


def test_a_scenario_that_left_nothing_behind_failed(tmp_path: Path) -> None:
    assert verdict(dict(collected(tmp_path, ["ping"])["ping"]), None).cell == "FAIL 1/1"


def test_what_fails_directly_is_a_failure() -> None:
    assert verdict({"a": check("SUCCESS"), "b": check("FAILURE")}, None).cell == "FAIL 1/2"
    assert verdict({"a": check("SUCCESS"), "b": check("SKIPPED")}, None).cell == "ok 1"
    assert verdict({"b": check("SKIPPED")}, None).cell == "skip"


def test_what_the_fixture_passes_must_not_be_skipped_warned_of_or_missing_behind_a_gateway() -> None:
    direct = {"a": check("SUCCESS")}
    assert verdict({"a": check("SUCCESS")}, direct).cell == "ok 1"
    assert verdict({"a": check("SKIPPED")}, direct).cell == "LESS 1/1"
    assert verdict({"a": check("WARNING")}, direct).cell == "LESS 1/1"
    assert [one.status for one in verdict({}, direct).wrong] == ["MISSING"]
    assert verdict({"a": check("SKIPPED")}, {"a": check("SKIPPED")}).cell == "skip"


def test_a_run_is_well_only_when_nothing_went_wrong_and_the_suite_says_so_too() -> None:
    well = {"all": verdicts(outcome("SUCCESS"), None)}
    assert all_well(well, [outcome("SUCCESS")])
    assert not all_well(well, [outcome("SUCCESS", code=1)])
    assert not all_well({"all": verdicts(outcome("FAILURE"), None)}, [outcome("FAILURE")])
    nothing = Outcome(LEG, 0, 1.0, {})
    assert not all_well({"all": verdicts(nothing, outcome("SUCCESS"))}, [nothing])


def test_the_table_has_a_row_a_scenario_and_complaints_name_the_legs() -> None:
    columns = {"one": verdicts(outcome("FAILURE"), None), "two": verdicts(outcome("FAILURE"), None)}
    assert list(rendered(columns)) == [
        "| scenario | one      | two      |",
        "|----------|----------|----------|",
        "| ping     | FAIL 1/1 | FAIL 1/1 |",
    ]
    assert list(complaints(columns)) == ["FAILURE ping / answers [one, two]: why"]


@asynccontextmanager
async def echoing(seen: list[bytes], left: asyncio.Event) -> AsyncIterator[int]:
    """A port whose server answers each request with its head; `/stay` is never answered."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        if b" /stay " in head:
            await reader.read()
            left.set()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(head), head))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def test_the_shim_adds_its_header_keeps_the_host_and_takes_turns() -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    async with (
        echoing(first, asyncio.Event()) as one,
        echoing(second, asyncio.Event()) as two,
        shimmed([one, two], {"Authorization": "Bearer key"}) as port,
    ):
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: evil.example.com\r\nConnection: keep-alive\r\n\r\n")
            answer = await reader.read()
            writer.close()
            assert b"Authorization: Bearer key\r\n" in answer
            assert b"Host: evil.example.com\r\n" in answer
            assert b"keep-alive" not in answer
    assert [len(first), len(second)] == [2, 2]


async def test_a_client_that_leaves_is_seen_to_leave_behind_the_shim() -> None:
    left = asyncio.Event()
    async with echoing([], left) as upstream, shimmed([upstream], {}) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stay HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await writer.drain()
        writer.close()
        async with asyncio.timeout(5):
            await left.wait()
