"""Addresses that keep showing bad credentials: how often, for how long, and how many of them are remembered."""

from adapters.memory.counters import MemoryCounters
from core.errors import Reason
from core.limits import Bucket, CountersAway, Grant
from data_plane.doorstep import HELD_OFF_MAX, Doorstep


class Standing:
    """A doorstep of a node, and its clock."""

    def __init__(self, per_minute: int = 3) -> None:
        self.now = 100.0
        self.counters = MemoryCounters(lambda: self.now)
        self.per_minute = per_minute

    def worker(self) -> Doorstep:
        return Doorstep(self.counters, self.per_minute, clock=lambda: self.now)


async def test_an_address_is_held_off_once_it_tried_too_often_and_no_longer_than_told() -> None:
    node = Standing()
    door = node.worker()
    assert [await door.shown("192.0.2.1") for _ in range(3)] == [None] * 3
    assert not door.held_off
    refused = await door.shown("192.0.2.1")
    assert refused is not None
    assert (refused.reason, refused.retry_after_s) == (Reason.RATE_LIMITED, 20.0)
    held = door.refusal("192.0.2.1")
    assert held is not None
    assert held.limit is not None
    assert (held.limit.quota, held.limit.window_s) == (3, 60.0)
    assert door.refusal("192.0.2.2") is None
    node.now += 20.0
    assert door.refusal("192.0.2.1") is None
    assert not door.held_off
    assert await door.shown("192.0.2.1") is None


async def test_workers_count_together_and_each_learns_by_itself() -> None:
    node = Standing()
    one, other = node.worker(), node.worker()
    assert [await door.shown("192.0.2.1") for door in (one, other, one)] == [None] * 3
    assert await other.shown("192.0.2.1") is not None
    assert one.refusal("192.0.2.1") is None
    assert await one.shown("192.0.2.1") is not None


async def test_networks_of_ipv6_are_one_address_and_what_is_no_address_is_never_held_off() -> None:
    door = Standing(per_minute=1).worker()
    assert await door.shown("2001:db8::1") is None
    assert await door.shown("2001:db8::2:3") is not None
    assert door.refusal("2001:db8::ffff") is not None
    assert [await door.shown("") for _ in range(5)] == [None] * 5


async def test_without_a_limit_nobody_is_counted() -> None:
    node = Standing(per_minute=0)
    assert [await node.worker().shown("192.0.2.1") for _ in range(9)] == [None] * 9
    assert len(node.counters) == 0


class Away:
    async def take(self, key: str, bucket: Bucket, want: int) -> Grant:
        raise CountersAway("the node's supervisor is gone")

    async def give_back(self, key: str, bucket: Bucket, tokens: int) -> None: ...


async def test_while_nobody_counts_nobody_is_held_off() -> None:
    assert await Doorstep(Away(), 1).shown("192.0.2.1") is None


class Empty(Away):
    async def take(self, key: str, bucket: Bucket, want: int) -> Grant:
        return Grant(0, 60.0)


async def test_so_many_are_remembered_and_the_first_goes_for_one_more() -> None:
    door = Doorstep(Empty(), 1, clock=lambda: 0.0)
    for n in range(HELD_OFF_MAX + 2):
        await door.shown(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert (door.bound.held, door.bound.cap, door.bound.hits) == (HELD_OFF_MAX, HELD_OFF_MAX, 2)
    assert door.refusal("10.0.0.1") is None
    assert door.refusal("10.0.0.2") is not None
