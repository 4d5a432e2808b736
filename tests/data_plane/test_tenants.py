"""Which snapshots a worker holds: loaded on first use, once, and no more than its memory allows."""

import asyncio

import pytest

from core.errors import Reason, Unavailable
from data_plane.snapshots import TenantSnapshot
from data_plane.tenants import Pointer, Tenants
from tests.data_plane.stages.builders import snapshot

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


async def test_the_tenant_used_longest_ago_gives_way_and_comes_back_when_asked_for() -> None:
    disk = Disk()
    tenants = Tenants(disk.load, 2)
    for name in ("a", "b", "c"):
        tenants.point(name, FIRST)
    for name in ("a", "b", "a", "c"):
        await tenants.current(name)
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
