"""What a session settles, as its workers know it."""

import asyncio
import time

from adapters.memory.bus import MemoryBus, MemoryCache
from core.bus import GAP, BusAway, Deliver, Leave
from data_plane.sessions import NOTHING, REMEMBERED, Notes, SessionNotes

LEVEL = Notes(log_level="error", uris=("file:///a",))


class Away:
    """A bus and a cache that cannot be reached."""

    async def publish(self, topic: str, message: bytes) -> None:
        raise BusAway

    async def subscribe(self, topic: str, deliver: Deliver) -> Leave:
        raise BusAway

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        raise BusAway

    async def get(self, key: str) -> bytes | None:
        raise BusAway


class Slow(MemoryBus):
    """Others have their turn between the Cache and the bus."""

    async def publish(self, topic: str, message: bytes) -> None:
        await asyncio.sleep(0)
        await super().publish(topic, message)


async def two_workers() -> tuple[SessionNotes, SessionNotes]:
    cache, bus = MemoryCache(time.monotonic), MemoryBus()
    one, other = SessionNotes(cache, bus), SessionNotes(cache, bus)
    await one.listen()
    await other.listen()
    return one, other


async def test_what_one_worker_is_told_the_others_know() -> None:
    one, other = await two_workers()
    assert await other.of(b"s") == NOTHING
    assert other.at_hand(b"s") == NOTHING
    await one.put(b"s", NOTHING, LEVEL)
    assert await other.of(b"s") == LEVEL
    assert await one.of(b"s") == LEVEL
    assert await other.of(b"another") == NOTHING


async def test_whoever_holds_the_sessions_stream_is_told_of_a_change() -> None:
    one, other = await two_workers()
    told = asyncio.Event()
    leave = other.watch(b"s", told.set)
    await one.put(b"another", NOTHING, LEVEL)
    assert not told.is_set()
    await one.put(b"s", NOTHING, LEVEL)
    assert told.is_set()
    told.clear()
    leave()
    await one.put(b"s", LEVEL, NOTHING)
    assert not told.is_set()


async def test_after_a_gap_what_others_said_is_looked_up_and_what_could_not_be_said_is_kept() -> None:
    cache, bus = MemoryCache(time.monotonic), MemoryBus()
    one, other = SessionNotes(cache, bus), SessionNotes(cache, MemoryBus())
    cut_off = SessionNotes(Away(), bus)
    for notes in (one, cut_off):
        await notes.listen()
    assert await one.of(b"s") == NOTHING
    await cut_off.put(b"s", NOTHING, LEVEL)
    await other.put(b"s", NOTHING, LEVEL)
    assert one.at_hand(b"s") == NOTHING, "nobody told it"
    told = asyncio.Event()
    one.watch(b"s", told.set)
    await bus.publish(GAP, b"")
    assert told.is_set()
    assert await one.of(b"s") == LEVEL
    assert cut_off.at_hand(b"s") == LEVEL


async def test_without_anything_shared_a_worker_still_knows_its_own() -> None:
    alone = SessionNotes(Away(), Away())
    told = asyncio.Event()
    alone.watch(b"s", told.set)
    assert await alone.of(b"s") == NOTHING
    await alone.put(b"s", NOTHING, LEVEL)
    assert await alone.of(b"s") == LEVEL
    assert told.is_set()


async def test_what_is_remembered_has_an_end() -> None:
    one, _ = await two_workers()
    for n in range(REMEMBERED + 10):
        await one.of(b"%d" % n)
    assert len(one) == REMEMBERED


async def test_two_changes_at_once_are_both_made() -> None:
    cache, bus = MemoryCache(time.monotonic), Slow()
    one, other = SessionNotes(cache, bus), SessionNotes(cache, bus)
    await one.listen()
    await other.listen()
    await one.of(b"s")
    await other.of(b"s")
    both = asyncio.gather(
        one.put(b"s", NOTHING, Notes(uris=("file:///a",))),
        other.put(b"s", NOTHING, Notes(log_level="info", uris=("file:///b",))),
    )
    await both
    seen = [await notes.of(b"s") for notes in (one, other)]
    assert [(notes.log_level, set(notes.uris)) for notes in seen] == [("info", {"file:///a", "file:///b"})] * 2
    await one.put(b"s", seen[0], Notes("info", ("file:///b",)))
    assert (await other.of(b"s")).uris == ("file:///b",)
    assert set((await SessionNotes(cache, bus).of(b"s")).uris) == {"file:///b"}


async def test_a_change_heard_while_the_cache_is_asked_is_not_forgotten() -> None:
    bus, asked, answer = MemoryBus(), asyncio.Event(), asyncio.Event()

    class Late(MemoryCache):
        async def get(self, key: str) -> bytes | None:
            found = await super().get(key)
            asked.set()
            await answer.wait()
            return found

    cache = Late(time.monotonic)
    one, other = SessionNotes(cache, bus), SessionNotes(cache, bus)
    await one.listen()
    await other.listen()
    looking = asyncio.ensure_future(one.of(b"s"))
    await asked.wait()
    await other.put(b"s", NOTHING, LEVEL)
    answer.set()
    await looking
    assert await one.of(b"s") == LEVEL
