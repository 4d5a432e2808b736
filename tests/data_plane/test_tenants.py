"""Which snapshots a worker holds: loaded on first use, once, and no more than its memory allows."""

import asyncio

import pytest

from core.errors import Reason, Unavailable
from core.identity import Caller
from data_plane.snapshots import TenantSnapshot
from data_plane.tenants import UNPROVEN, Pointer, Tenants
from tests.data_plane.stages.builders import snapshot

CALLER = Caller(
    tenant="acme",
    user="ada",
    agent="",
    credential="key:k",
    endpoints=frozenset(),
    expires_unix=float("inf"),
    policy_class=b"",
)
FIRST, SECOND = Pointer(1, b"one"), Pointer(2, b"two")


class Disk:
    """Loads when the test lets it, as often as it is asked."""

    def __init__(self) -> None:
        self.loads: list[tuple[str, Pointer]] = []
        self.may = asyncio.Event()
        self.may.set()
        self.failing = False

    async def load(self, tenant: str, pointer: Pointer) -> TenantSnapshot:
        self.loads.append((tenant, pointer))
        await self.may.wait()
        if self.failing:
            raise Unavailable(Reason.NO_SNAPSHOT, "not now")
        return snapshot(pointer.generation)


async def test_a_tenant_nothing_points_to_is_not_served_and_nothing_is_read_for_it() -> None:
    disk = Disk()
    assert await Tenants(disk.load, 8).current("acme") is None
    assert disk.loads == []


async def test_many_first_callers_wait_for_one_load() -> None:
    disk = Disk()
    tenants = Tenants(disk.load, 8)
    tenants.point("acme", FIRST)
    found = await asyncio.gather(*(tenants.current("acme") for _ in range(50)))
    assert len(disk.loads) == 1
    assert {id(one) for one in found} == {id(tenants.loaded("acme"))}


async def test_a_caller_that_leaves_does_not_take_the_load_from_the_others() -> None:
    disk = Disk()
    disk.may.clear()
    tenants = Tenants(disk.load, 8)
    tenants.point("acme", FIRST)
    async with asyncio.timeout(5):
        leaves, stays = (asyncio.ensure_future(tenants.current("acme")) for _ in range(2))
        while not disk.loads:
            await asyncio.sleep(0)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        disk.may.set()
        assert await stays is not None
    assert len(disk.loads) == 1


async def test_a_load_that_failed_is_tried_again_by_the_next_call() -> None:
    disk = Disk()
    disk.failing = True
    tenants = Tenants(disk.load, 8)
    tenants.point("acme", FIRST)
    with pytest.raises(Unavailable):
        await tenants.current("acme")
    disk.failing = False
    assert await tenants.current("acme") is not None


async def test_what_was_replaced_while_it_was_read_is_not_kept() -> None:
    disk = Disk()
    disk.may.clear()
    tenants = Tenants(disk.load, 8)
    tenants.point("acme", FIRST)
    async with asyncio.timeout(5):
        reading = asyncio.ensure_future(tenants.current("acme"))
        while not disk.loads:
            await asyncio.sleep(0)
        tenants.point("acme", SECOND)
        disk.may.set()
        await reading
    assert tenants.loaded("acme") is None
    now = await tenants.current("acme")
    assert now is not None
    assert now.manifest.generation == 2


async def served(tenants: Tenants, name: str) -> None:
    """A call with a good key."""
    found = await tenants.current(name)
    assert found is not None
    found.callers["key"] = CALLER


async def test_strangers_never_take_the_place_of_who_is_served() -> None:
    disk = Disk()
    tenants = Tenants(disk.load, 2)
    for number in range(30):
        tenants.point(f"t{number}", FIRST)
    await served(tenants, "t0")
    await served(tenants, "t1")
    for number in range(2, 30):
        assert await tenants.current(f"t{number}") is not None
    assert tenants.loaded("t0")
    assert tenants.loaded("t1")
    assert tenants.in_memory == 2 + UNPROVEN
    loads = len(disk.loads)
    await served(tenants, "t29")
    await served(tenants, "t29")
    assert len(disk.loads) == loads, "what was loaded for a stranger is not loaded again for who proves it"
    assert [name for name in ("t0", "t1", "t29") if tenants.loaded(name)] == ["t1", "t29"]


async def test_what_strangers_had_loaded_gives_way_first() -> None:
    tenants = Tenants(Disk().load, 2)
    for name in ("a", "b", "c"):
        tenants.point(name, FIRST)
    await served(tenants, "a")
    await tenants.current("b")
    await served(tenants, "c")
    await served(tenants, "c")
    assert [name for name in ("a", "b", "c") if tenants.loaded(name)] == ["a", "c"]


async def test_a_tenant_that_changed_is_not_taken_for_a_strangers() -> None:
    tenants = Tenants(Disk().load, 2)
    for name in ("a", "b", "c"):
        tenants.point(name, FIRST)
    await served(tenants, "a")
    await tenants.current("b")
    tenants.swap("a", SECOND, snapshot(2))
    await served(tenants, "c")
    await served(tenants, "c")
    assert [name for name in ("a", "b", "c") if tenants.loaded(name)] == ["a", "c"]


async def test_what_waits_apart_is_replaced_and_withdrawn_like_the_others() -> None:
    tenants = Tenants(Disk().load, 1)
    for name in ("a", "b"):
        tenants.point(name, FIRST)
        await tenants.current(name)
    newer = snapshot(2)
    tenants.swap("b", SECOND, newer)
    assert tenants.loaded("b") is newer
    assert {id(one) for one in tenants.snapshots()} == {id(tenants.loaded("a")), id(newer)}
    tenants.forget("b")
    assert (tenants.loaded("b"), tenants.in_memory) == (None, 1)


async def test_the_tenant_used_longest_ago_gives_way_and_comes_back_when_asked_for() -> None:
    disk = Disk()
    tenants = Tenants(disk.load, 2)
    for name in ("a", "b", "c"):
        tenants.point(name, FIRST)
    for name in ("a", "b", "a", "c", "c"):
        await served(tenants, name)
    assert [name for name in ("a", "b", "c") if tenants.loaded(name)] == ["a", "c"]
    assert (len(tenants), tenants.in_memory) == (3, 2)
    assert await tenants.current("b") is not None


async def test_a_withdrawn_tenant_is_gone_at_once() -> None:
    tenants = Tenants(Disk().load, 2)
    tenants.point("acme", FIRST)
    await tenants.current("acme")
    tenants.forget("acme")
    assert await tenants.current("acme") is None
    assert (len(tenants), tenants.in_memory) == (0, 0)
