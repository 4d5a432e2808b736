"""Records from the gateways: kept once, in the right chain, whatever is in them."""

import msgspec
import pytest

from adapters.postgres.audit import PostgresAudit
from control_plane.services.audit import PLATFORM_RETENTION_DAYS
from core.admin import Rejected, Why
from core.audit import Wanted
from core.call import Record
from core.guard import Finding
from core.node_token import NodeToken
from core.resource import Ref
from tests.control_plane.services.conftest import ROOT, Plane, admin_of

GATEWAY = NodeToken(name="gw-1")


def record(number: int, tenant: str = "acme", **more: object) -> bytes:
    values = {
        "id": f"call-{number}",
        "at_unix": 1_800_000_000.0 + number,
        "tenant": tenant,
        "user": "alice",
        "agent": "bot",
        "tool": "get_time",
        "outcome": "ok",
        "credential": "key:laptop",
        "duration_us": 850,
        **more,
    }
    return msgspec.msgpack.encode(Record(**values))  # type: ignore[arg-type]


async def test_a_call_is_in_its_tenants_log_with_all_that_is_known(plane: Plane) -> None:
    finding = Finding("card", "mask", "out", 2)
    await plane.audit.store(GATEWAY, [record(1, findings=(finding,), arguments_digest=b"\x01", decision_cached=True)])
    (row,) = (await plane.audit.list(ROOT, "acme", Wanted(type="call"))).rows
    assert (row.id, row.caller, row.tool, row.outcome) == ("call-1", "alice/bot", "get_time", "ok")
    assert row.detail == {
        "credential": "key:laptop",
        "findings": [["card", "mask", "out", 2, ""]],
        "duration_us": 850,
        "node": "gw-1",
        "decision_cached": True,
        "arguments_digest": "AQ==",
    }


async def test_a_batch_sent_again_is_stored_once(plane: Plane) -> None:
    batch = [record(i) for i in range(50)]
    await plane.audit.store(GATEWAY, batch)
    await plane.audit.store(GATEWAY, batch)
    assert (await plane.proof.verify(ROOT, "acme")).rows == 50


async def test_calls_of_nobody_known_are_the_platforms(plane: Plane) -> None:
    await plane.audit.store(GATEWAY, [record(1, ""), record(2, "nowhere"), record(3)])
    calls = await plane.audit.list(ROOT, "", Wanted(type="call"))
    assert [row.id for row in calls.rows] == ["call-2", "call-1"]
    assert [row.id for row in (await plane.audit.list(ROOT, "acme", Wanted(type="call"))).rows] == ["call-3"]


async def test_what_cannot_be_read_or_stored_as_it_is_never_blocks_the_rest(plane: Plane) -> None:
    batch = [b"garbage", record(1, tool="a\0b", detail="c\0", reasons=("x\0",)), b"", record(2, id="")]
    batch += [record(3, id="x" * 9000, at_unix=float("nan")), record(4, at_unix=float("inf"), tool="t" * 9000)]
    await plane.audit.store(GATEWAY, batch)
    await plane.audit.store(GATEWAY, batch)
    rows = (await plane.audit.list(ROOT, "acme", Wanted(type="call"))).rows
    assert [row.tool for row in rows] == ["t" * 9000, "get_time", "get_time", "a\N{REPLACEMENT CHARACTER}b"]
    unreadable = await plane.audit.list(ROOT, "", Wanted(outcome="unreadable"))
    assert [row.detail["size_bytes"] for row in unreadable.rows] == [0, 7]
    for tenant in ("", "acme"):
        assert (await plane.proof.verify(ROOT, tenant)).intact


async def test_last_use_of_a_key_is_shown_and_is_no_change(plane: Plane) -> None:
    await plane.apply("User", "alice", {})
    await plane.keys.issue(ROOT, "acme", "laptop", {"user": "alice"})
    revision, _ = await plane.store.load("acme")
    await plane.audit.store(GATEWAY, [record(1), record(2)])
    assert (await plane.get("ApiKey", "laptop")).status["last_used_at"] == "2027-01-15T08:00:02Z"
    await plane.audit.store(GATEWAY, [record(30)])
    assert (await plane.get("ApiKey", "laptop")).status["last_used_at"] == "2027-01-15T08:00:02Z"
    await plane.audit.store(GATEWAY, [record(90)])
    key = await plane.get("ApiKey", "laptop")
    assert (key.status["last_used_at"], key.status["issued"]) == ("2027-01-15T08:01:30Z", True)
    assert key.generation == 1
    assert await plane.store.changes(revision, 10) == []


async def test_only_owners_of_the_tenant_read_its_log(plane: Plane) -> None:
    await plane.audit.store(GATEWAY, [record(1)])
    assert len((await plane.audit.list(admin_of("acme"), "acme", Wanted(type="call"))).rows) == 1
    for admin, tenant, why in (
        (admin_of("acme", "editor"), "acme", Why.DENIED),
        (admin_of("umbrella"), "acme", Why.NOT_FOUND),
        (admin_of("acme"), "", Why.DENIED),
    ):
        for attempt in (plane.audit.list(admin, tenant, Wanted()), plane.proof.verify(admin, tenant)):
            with pytest.raises(Rejected) as rejected:
                await attempt
            assert rejected.value.why is why


async def test_pages_of_the_log_cover_it_once(plane: Plane) -> None:
    await plane.audit.store(GATEWAY, [record(i) for i in range(7)])
    seen, cursor = [], ""
    while True:
        page = await plane.audit.list(ROOT, "acme", Wanted(type="call"), page_size=3, cursor=cursor)
        seen += [row.id for row in page.rows]
        cursor = page.next_cursor
        if not cursor:
            break
        await plane.audit.store(GATEWAY, [record(100 + len(seen))])
    assert seen == [f"call-{i}" for i in range(6, -1, -1)]
    with pytest.raises(Rejected) as rejected:
        await plane.audit.list(ROOT, "acme", Wanted(), cursor="zzz")
    assert [p.path for p in rejected.value.problems] == ["cursor"]


async def test_retention_is_the_tenants_own(plane: Plane) -> None:
    await plane.apply("Tenant", "umbrella", {"retention_days": 1})
    await plane.audit.store(GATEWAY, [record(1), record(1, "umbrella")])
    plane.clock.now += 2 * 86_400
    assert await plane.audit.prune() == 1
    assert (await plane.proof.verify(ROOT, "umbrella")).rows == 0
    assert (await plane.proof.verify(ROOT, "acme")).rows == 1
    assert await plane.store.get(Ref("Tenant", "", "umbrella")) is not None


async def test_the_log_of_a_deleted_tenant_is_kept_as_long_as_the_platforms(plane: Plane) -> None:
    rows = PostgresAudit(plane.database)
    await plane.apply("Tenant", "umbrella", {"retention_days": 1})
    await plane.audit.store(GATEWAY, [record(1, "umbrella")])
    await plane.resources.delete(ROOT, "Tenant", "", "umbrella")
    for days, left in ((2, 1), (PLATFORM_RETENTION_DAYS, 0)):
        plane.clock.now += days * 86_400
        await plane.audit.prune()
        assert (await rows.verify("umbrella")).rows == left


async def test_a_record_its_sender_may_not_send_never_enters_the_log_it_claims_to_be_of(plane: Plane) -> None:
    bound = NodeToken(name="edge", nodes=("edge-*",), tenants=("acme",))
    good = [record(1, node="edge-1"), record(2), record(3, "", node="edge-2")]
    await plane.audit.store(bound, [record(7, "umbrella", node="edge-1"), *good, record(8, node="core-1")])
    for tenant, ids in (("acme", {"call-1", "call-2"}), ("umbrella", set())):
        rows = (await plane.audit.list(ROOT, tenant, Wanted(type="call"))).rows
        assert {row.id for row in rows} == ids
    rows = (await plane.audit.list(ROOT, "", Wanted(type="call", outcome="misattributed"))).rows
    claims = [row.detail["claims"] for row in rows]
    assert claims == [
        {"sender": "edge", "tenant": "acme", "outcome": "ok", "id": "call-8"},
        {"sender": "edge", "tenant": "umbrella", "outcome": "ok", "id": "call-7"},
    ]
    assert plane.audit.misattributed == 2
    assert (await plane.proof.verify(ROOT, "")).intact
