"""Programs as servers: one child each, held on a short leash, and never one left behind."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from core.call import Outgoing, Raw
from core.errors import Reason, Unavailable
from core.server import StdioTransport
from data_plane.supervisor.stdio import StdioLimits, StdioServers
from data_plane.supervisor.stdio_lines import LineReader, Overlong
from data_plane.supervisor.stdio_log import StderrLog
from data_plane.upstreams.probe import observe
from tests.harness.timing import beside
from tests.harness.upstream_route import as_program, route_to

ROOT = Path(__file__).parents[3]
PROGRAM = str(ROOT / "tests/harness/upstream_stdio.py")
QUICK = StdioLimits(back_off_s=0.2, discover_s=5, eof_s=2, term_s=2)


@pytest.fixture
async def servers() -> AsyncIterator[StdioServers]:
    servers = StdioServers(QUICK)
    yield servers
    await servers.close()


def program(mode: str = "plain", **settings: int | str) -> StdioTransport:
    return as_program(sys.executable, PROGRAM, mode, **settings)


async def run(servers: StdioServers, tool: str, arguments: object = None, **changes: object) -> str:
    transport = changes.pop("transport", program())
    changes.setdefault("deadline_s", 20)
    route = route_to(transport, tool, **{"era": None, **changes})  # type: ignore[arg-type]
    outgoing = Outgoing(arguments=msgspec.json.encode(arguments or {}))
    return text_of(await servers.call(route, outgoing, lambda _: None))


def text_of(raw: Raw) -> str:
    return msgspec.json.decode(raw.result)["content"][0]["text"]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_one_child_serves_all_calls_of_a_server(servers: StdioServers) -> None:
    seen = await asyncio.gather(*(run(servers, "process") for _ in range(20)))
    assert len({json.loads(text)["pid"] for text in seen}) == 1
    assert [(c.tenant, c.server, c.era, c.starts) for c in servers.children()] == [("acme", "upstream", "legacy", 1)]


async def test_tenants_never_share_a_child(servers: StdioServers) -> None:
    pids = {json.loads(await run(servers, "process", tenant=tenant))["pid"] for tenant in ("acme", "globex")}
    assert len(pids) == 2


async def test_nothing_of_the_gateways_environment_or_files_is_visible_in_the_child(tmp_path: Path) -> None:
    base = {"PATH": os.environ["PATH"], "HOME": "/home/gateway", "TZ": "UTC", "TOOLGATE_SECRET": "s3cret"}
    servers = StdioServers(base_environment=base)
    held = (tmp_path / "held").open("w")
    try:
        transport = program(cwd=str(tmp_path))
        seen = json.loads(await run(servers, "process", transport=transport, env=(("API_KEY", "k"),)))
        assert len(seen["environment"].pop("TOOLGATE_PROCESS")) == 32  # How its descendants are known.
        assert seen["environment"] == {
            "PATH": os.environ["PATH"],
            "HOME": "/home/gateway",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "API_KEY": "k",
        }
        assert seen["cwd"] == str(tmp_path)
        assert seen["sid"] == seen["pid"]
        assert len(seen["files"]) == 4  # Its three streams, and the listing itself.
    finally:
        held.close()
        await servers.close()


async def test_no_ignored_signal_is_inherited(servers: StdioServers, caplog: pytest.LogCaptureFixture) -> None:
    """Python ignores SIGPIPE, and a program started by it would never learn that nobody reads."""
    own = Path("/proc/self/status").read_text().partition("SigIgn:")[2].split()[0]
    # What we were started with stays: make, for one, passes on two signals of the C library's.
    expected = int(own, 16) & ~sum(1 << (number - 1) for number in (signal.SIGPIPE, signal.SIGXFSZ))
    shell = ("/bin/sh", "-c", 'grep SigIgn /proc/self/status >&2; exec "$@"', "sh")
    with caplog.at_level(logging.INFO, "toolgate.stdio"):
        await run(servers, "echo", transport=as_program(*shell, sys.executable, PROGRAM, "plain"))
        await until(lambda: f"SigIgn:\t{expected:016x}" in caplog.text)


async def test_limits_hold_in_the_child(servers: StdioServers) -> None:
    transport = program(cpu_seconds=60, memory_mib=64, max_files=32)
    assert json.loads(await run(servers, "limits", transport=transport)) == {
        "RLIMIT_CPU": 60,
        "RLIMIT_DATA": 64 << 20,
        "RLIMIT_NOFILE": 32,
        "RLIMIT_CORE": 0,
    }
    assert await run(servers, "eat", {"bytes": 128 << 20}, transport=transport) == "no memory"


async def test_arguments_with_line_ends_between_tokens_arrive(servers: StdioServers) -> None:
    route = route_to(program(), "echo", era=None)
    outgoing = Outgoing(arguments=b'{\r\n"text":\n"a\\nb"\n}')
    assert text_of(await servers.call(route, outgoing, lambda _: None)) == "a\nb"


async def test_garbage_on_standard_output_disturbs_nobody(
    servers: StdioServers, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "toolgate.stdio"):
        assert await run(servers, "garbage") == "after the garbage"
    assert "not JSON-RPC on standard output" in caplog.text


async def test_cancelling_tells_the_child_which_request(servers: StdioServers) -> None:
    await run(servers, "echo")
    hanging = asyncio.ensure_future(run(servers, "hang"))
    await until(lambda: servers.children()[0].in_flight == 1)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert len(json.loads(await run(servers, "cancelled"))) == 1
    assert servers.children()[0].in_flight == 0


async def test_an_answer_too_long_fails_its_call_only(servers: StdioServers) -> None:
    small = run(servers, "echo", {"text": "small"})
    with pytest.raises(Unavailable) as caught:
        await run(servers, "big", {"size": 2_000_000}, max_result_bytes=100_000)
    assert caught.value.reason is Reason.UPSTREAM_TOO_LARGE
    assert await small == "small"
    assert servers.children()[0].starts == 1


async def test_a_killed_child_fails_its_calls_and_the_next_call_gets_another(servers: StdioServers) -> None:
    await run(servers, "echo")
    hanging = asyncio.ensure_future(run(servers, "hang"))
    await until(lambda: servers.children()[0].in_flight == 1)
    killed = servers.children()[0].pid
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(Unavailable) as caught:
        await hanging
    assert caught.value.reason is Reason.UPSTREAM_UNAVAILABLE
    assert caught.value.detail == "its process has ended by signal 9"
    assert await run(servers, "echo", {"text": "back"}) == "back"
    assert servers.children()[0].pid != killed
    assert servers.children()[0].starts == 2


async def test_a_child_that_keeps_crashing_is_restarted_with_growing_pauses() -> None:
    servers = StdioServers(StdioLimits(back_off_s=10, patience_s=0.1))
    try:
        for _ in range(2):
            with pytest.raises(Unavailable, match="process has"):
                await run(servers, "crash")
        with pytest.raises(Unavailable, match="keeps ending") as caught:
            await run(servers, "echo")
        assert caught.value.retry_after_s
        assert 5 < caught.value.retry_after_s <= 10
    finally:
        await servers.close()


async def test_a_program_that_ends_at_once_is_an_error_of_its_tools(servers: StdioServers) -> None:
    with pytest.raises(Unavailable, match="process has ended with exit code 3"):
        await run(servers, "echo", transport=program("dies"))
    assert await run(servers, "echo", {"text": "x"}, server="other") == "x"


@pytest.mark.parametrize("command", ["/no/such/program", "no-such-program-anywhere"])
async def test_a_program_that_does_not_exist_is_named_in_the_log_and_the_path_is_pointed_at(
    command: str, servers: StdioServers, caplog: pytest.LogCaptureFixture
) -> None:
    told = pytest.raises(Unavailable, match=r"127: is its command in the gateway's PATH\?")
    with caplog.at_level(logging.INFO, "toolgate.stdio"), told:
        await run(servers, "echo", transport=as_program(command))
    await until(lambda: f"cannot run {command}: No such file or directory" in caplog.text)


async def test_a_working_directory_that_does_not_exist_says_so(servers: StdioServers) -> None:
    with pytest.raises(Unavailable, match="cannot be started"):
        await run(servers, "echo", transport=program(cwd="/no/such/folder"))


async def test_a_program_that_says_nothing_fails_the_call_at_its_deadline(servers: StdioServers) -> None:
    async with beside(0.4) as timer:
        with pytest.raises(Unavailable) as caught:
            await run(servers, "echo", transport=program("mute"), deadline_s=0.4)
    assert caught.value.reason is Reason.UPSTREAM_TIMEOUT
    assert timer.behind_s < 0.1


async def test_a_server_that_leaves_discover_unanswered_is_asked_to_initialize() -> None:
    servers = StdioServers(StdioLimits(discover_s=0.2))
    try:
        seen = await observe(route_to(program("slow_to_refuse"), era=None, deadline_s=20), servers)
        assert (seen.era, [tool.name for tool in seen.tools], seen.error) == ("legacy", ["echo"], "")
        assert servers.children()[0].in_flight == 0
    finally:
        await servers.close()


async def test_a_modern_server_slow_to_start_is_still_spoken_to_in_its_era() -> None:
    """The discover wait is over long before the SDK is imported; its late answer decides all the same."""
    servers = StdioServers(StdioLimits(discover_s=0.01))
    sdk = as_program(sys.executable, "-m", "tests.harness.upstream_stdio", cwd=str(ROOT))
    try:
        assert await run(servers, "echo", {"text": "x"}, transport=sdk) == "x"
        assert servers.children()[0].era == "modern"
    finally:
        await servers.close()


async def test_changed_settings_replace_the_child_once_its_calls_are_done(servers: StdioServers) -> None:
    await run(servers, "echo")
    first = servers.children()[0].pid
    assert await run(servers, "echo", {"text": "x"}, env=(("NEW", "1"),)) == "x"
    assert servers.children()[0].pid != first
    await until(lambda: not alive(first))


async def test_a_retired_server_is_stopped_and_the_others_stay(servers: StdioServers) -> None:
    for server in ("one", "two"):
        await run(servers, "echo", server=server)
    one, two = (child.pid for child in servers.children())
    servers.retire("acme", "one")
    await until(lambda: not alive(one))
    assert [child.pid for child in servers.children()] == [two]


async def test_an_idle_child_is_stopped() -> None:
    servers = StdioServers(StdioLimits(idle_s=0.1))
    try:
        await run(servers, "echo")
        pid = servers.children()[0].pid
        await until(lambda: not alive(pid))
        assert servers.children() == []
    finally:
        await servers.close()


async def test_nothing_is_kept_of_a_server_nobody_asks_for_any_more() -> None:
    """Neither of one that ran, nor of one that cannot: their environments may hold secrets."""
    servers = StdioServers(StdioLimits(idle_s=0.2, longest_back_off_s=0.1, back_off_s=0.05))
    try:
        await run(servers, "echo", env=(("API_KEY", "k"),))
        with pytest.raises(Unavailable):
            await run(servers, "echo", server="broken", transport=program("dies"))
        assert servers._slots
        await until(lambda: not servers._slots and not servers._children)
        await until(lambda: servers._sweep is None)
        assert await run(servers, "echo", {"text": "again"}) == "again"
    finally:
        await servers.close()


async def test_the_cap_on_children_holds_and_an_idle_one_makes_room() -> None:
    busy = StdioServers(StdioLimits(max_children=1, evict_s=60))
    patient = StdioServers(StdioLimits(max_children=1, evict_s=0))
    try:
        await run(busy, "echo", server="one")
        with pytest.raises(Unavailable) as caught:
            await run(busy, "echo", server="two")
        assert caught.value.reason is Reason.OVERLOADED
        for server in ("one", "two"):
            assert await run(patient, "echo", {"text": server}, server=server) == server
            assert [child.server for child in patient.children()] == [server]
    finally:
        await busy.close()
        await patient.close()


async def test_closing_leaves_no_process_grandchildren_included() -> None:
    servers = StdioServers(StdioLimits(eof_s=1, term_s=0.3))
    family = json.loads(await run(servers, "offspring"))
    family.append(servers.children()[0].pid)
    await run(servers, "echo", server="stubborn", transport=program("stubborn"))
    family += [child.pid for child in servers.children()]
    assert all(alive(pid) for pid in family)
    await servers.close()
    assert [pid for pid in family if alive(pid)] == []
    with pytest.raises(Unavailable, match="shutting down"):
        await run(servers, "echo")


async def test_a_child_that_crashes_takes_its_grandchildren_along(servers: StdioServers) -> None:
    family = json.loads(await run(servers, "offspring"))
    others = json.loads(await run(servers, "offspring", server="another"))
    assert [os.getsid(pid) == pid for pid in family] == [False, True]
    with pytest.raises(Unavailable):
        await run(servers, "crash")
    await until(lambda: not any(alive(pid) for pid in family))
    assert all(alive(pid) for pid in others)


async def test_a_grandchild_that_hides_from_a_server_killed_outright_is_found(servers: StdioServers) -> None:
    """It left the session, its parent and its server are dead, and no one is left in /proc to trace it by."""
    daemon = json.loads(await run(servers, "daemon"))
    child = servers.children()[0].pid
    assert alive(daemon)
    assert os.getsid(daemon) not in (child, os.getsid(0))
    assert Path(f"/proc/{daemon}/stat").read_text().rpartition(")")[2].split()[1] != str(child)
    os.kill(child, signal.SIGKILL)
    await until(lambda: not alive(daemon))


async def test_no_child_or_grandchild_survives_a_killed_supervisor() -> None:
    """A whole process with a `StdioServers` in it is killed with SIGKILL: nothing in it gets to clean up."""
    code = textwrap.dedent(
        """
        import asyncio, sys
        from tests.data_plane.upstreams.test_stdio import StdioServers, run
        async def main():
            servers = StdioServers()
            family = await run(servers, "offspring")
            print(servers.children()[0].pid, servers._reaper.pid, family, flush=True)
            await asyncio.Event().wait()
        asyncio.run(main())
        """
    )
    supervisor = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert supervisor.stdout is not None
    line = await asyncio.to_thread(supervisor.stdout.readline)
    child, reaper, family = line.split(" ", 2)
    pids = [int(child), int(reaper), *json.loads(family)]
    assert all(alive(pid) for pid in pids)
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    await until(lambda: not any(alive(pid) for pid in pids))


async def test_standard_error_goes_to_the_log_by_line(servers: StdioServers, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "toolgate.stdio"):
        await run(servers, "complain", {"text": "one\n\x1b[31mtwo"})
        await until(lambda: "two" in caplog.text)
    records = [r for r in caplog.records if r.name == "toolgate.stdio"]
    assert [r.getMessage() for r in records] == ["one", "�[31mtwo"]
    assert (records[0].tenant, records[0].server) == ("acme", "upstream")  # type: ignore[attr-defined]


def test_standard_error_is_cut_and_rate_limited(caplog: pytest.LogCaptureFixture) -> None:
    log = StderrLog("acme", "upstream", 1)
    with caplog.at_level(logging.INFO, "toolgate.stdio"):
        log.feed(b"x" * 10_000 + b"\n" + b"line\n" * 1000, 0.0)
        assert len(caplog.records) == 200
        assert caplog.records[0].getMessage() == "x" * 4096 + " (cut)"
        log.feed(b"later\n", 60.0)
    assert [r.getMessage() for r in caplog.records[200:]] == [
        "801 lines of this server were dropped: it writes too fast",
        "later",
    ]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_lines_are_whole_however_they_are_cut_and_long_ones_are_skipped(size: int) -> None:
    data = b'{"id":1}\r\n\n' + b'{"jsonrpc":"2.0", "id": 7, "result":"' + b"x" * 500 + b'"}\n'
    data += b'{"result":"' + b'\\"id\\":9' * 100 + b'","id": 8}\n' + b"z" * 500 + b'\n{"id":2}\nunfinished'
    reader = LineReader(100)
    lines = [line for i in range(0, len(data), size) for line in reader.feed(data[i : i + size])]
    assert lines == [b'{"id":1}', Overlong(7), Overlong(8), Overlong(None), b'{"id":2}']
