"""What is shared, where the stores differ: memory at its caps, Redis killed, hung, flooded, and back."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from time import monotonic

import pytest

from adapters.memory.bus import MemoryBus, MemoryCache, MemoryEvents
from adapters.redis.bus import RedisBus, RedisCache, RedisEvents
from adapters.redis.commands import Commands
from core.bus import GAP, VALUE_MAX_BYTES, BusAway, Event
from tests.harness.bus import WITHIN_S, Inbox
from tests.harness.redis import RedisServer

# What only memory does.


async def test_memory_keeps_so_many_values_and_bytes_and_drops_the_longest_untouched() -> None:
    now = 0.0
    cache = MemoryCache(lambda: now, max_values=3, max_bytes=100)
    for key in "abc":
        await cache.put(key, b"v", 60)
    await cache.get("a")
    await cache.put("d", b"v", 60)
    assert [await cache.get(key) for key in "abcd"] == [b"v", None, b"v", b"v"]
    await cache.put("e", b"x" * 97, 60)
    assert len(cache) <= 2
    now = 61.0
    await cache.put("f", b"v", 60)
    assert len(cache) == 1


async def test_memory_keeps_so_many_streams_and_bytes_of_events() -> None:
    now = 0.0
    log = MemoryEvents(lambda: now, max_streams=2, max_bytes=10, ttl_s=60)
    for stream in "abc":
        await log.append(stream, Event(1, b"1234"))
    assert [await log.after(stream, 0) is not None for stream in "abc"] == [False, True, True]
    await log.append("c", Event(2, b"123456"))
    assert [await log.after(stream, 0) is not None for stream in "bc"] == [False, True]
    now = 61.0
    await log.append("d", Event(1, b"1"))
    assert len(log) == 1


async def test_memory_takes_so_many_subscriptions() -> None:
    bus = MemoryBus(max_subscriptions=1)
    leave = await bus.subscribe("t", Inbox())
    with pytest.raises(BusAway):
        await bus.subscribe("t", Inbox())
    leave()
    assert bus.topics == 0
    await bus.subscribe("t", Inbox())


# Redis killed, and back.


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[tuple[Commands, RedisBus]]:
    commands = Commands(redis_server.url, timeout_s=0.5)
    bus = RedisBus(commands, prefix="killed:")
    yield commands, bus
    await bus.aclose()
    await commands.aclose()


async def test_while_redis_is_away_everything_says_so_and_nobody_waits(
    redis: tuple[Commands, RedisBus], redis_server: RedisServer
) -> None:
    commands, bus = redis
    await bus.subscribe("t", Inbox())
    redis_server.kill()
    with pytest.raises(BusAway):
        await bus.publish("t", b"x")
    began = monotonic()
    attempts: list[Callable[[], object]] = [
        lambda: bus.publish("t", b"x"),
        lambda: bus.subscribe("u", Inbox()),
        lambda: RedisCache(commands).put("k", b"v", 1),
        lambda: RedisCache(commands).get("k"),
        lambda: RedisEvents(commands).append("s", Event(1, b"e")),
        lambda: RedisEvents(commands).after("s", 0),
    ]
    for attempt in attempts * 50:
        with pytest.raises(BusAway):
            await attempt()  # type: ignore[misc]
    assert monotonic() - began < WITHIN_S / 2
    assert commands.outages == 1


async def test_subscriptions_survive_redis_killed_and_started_again(
    redis: tuple[Commands, RedisBus], redis_server: RedisServer
) -> None:
    _, bus = redis
    inbox, gone, gaps = Inbox(), Inbox(), Inbox()
    await bus.subscribe("t", inbox)
    await bus.subscribe(GAP, gaps)
    leave = await bus.subscribe("left meanwhile", gone)
    redis_server.kill()
    leave()
    await asyncio.to_thread(redis_server.start)
    async with asyncio.timeout(WITHIN_S):
        while not inbox.messages:
            try:
                await bus.publish("t", b"again")
                await bus.publish("left meanwhile", b"again")
            except BusAway:
                pass
            await asyncio.sleep(0.01)
    assert inbox.messages[0] == b"again"
    assert gone.messages == []
    assert bus.outages == 1
    assert await gaps.has(1) == [b""]


async def test_a_redis_that_hangs_is_given_up_and_taken_up_again(redis_server: RedisServer) -> None:
    commands = Commands(redis_server.url, timeout_s=0.2)
    bus = RedisBus(commands, prefix="hangs:", ping_every_s=0.1)
    inbox = Inbox()
    await bus.subscribe("t", inbox)
    redis_server.signal(signal.SIGSTOP)
    try:
        began = monotonic()
        with pytest.raises(BusAway):
            await bus.publish("t", b"x")
        async with asyncio.timeout(WITHIN_S):
            while not bus.outages:
                await asyncio.sleep(0.01)
        with pytest.raises(BusAway):
            await bus.subscribe("u", Inbox())
        assert monotonic() - began < WITHIN_S / 2
    finally:
        redis_server.signal(signal.SIGCONT)
    async with asyncio.timeout(WITHIN_S):
        while b"again" not in inbox.messages:
            with suppress(BusAway):
                await bus.publish("t", b"again")
            await asyncio.sleep(0.02)
    await bus.aclose()
    await commands.aclose()


async def test_two_fleets_in_two_databases_of_one_redis_do_not_hear_each_other(redis_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        buses, inboxes = [], [Inbox(), Inbox()]
        for number, inbox in enumerate(inboxes):
            commands = Commands(redis_server.url.replace("/0", f"/{number}"))
            stack.push_async_callback(commands.aclose)
            bus = RedisBus(commands, prefix="two:")
            stack.push_async_callback(bus.aclose)
            await bus.subscribe("t", inbox)
            buses.append(bus)
        await buses[0].publish("t", b"first's")
        await buses[1].publish("t", b"second's")
        assert [await inbox.has(1) for inbox in inboxes] == [[b"first's"], [b"second's"]]


async def test_a_flood_of_commands_is_bounded(redis: tuple[Commands, RedisBus]) -> None:
    commands, _ = redis
    cache = RedisCache(commands)
    async with asyncio.timeout(WITHIN_S):
        done = await asyncio.gather(
            *(cache.put("k", b"x" * VALUE_MAX_BYTES, 1) for _ in range(400)), return_exceptions=True
        )
    refused = [failure for failure in done if failure is not None]
    assert 0 < len(refused) < 400
    assert {str(failure) for failure in refused} == {"more waits for Redis than may"}


async def test_closing_fails_what_waits(redis_server: RedisServer) -> None:
    commands = Commands(redis_server.url)
    waiting = asyncio.ensure_future(commands.ask("BLPOP", "nothing", 0))
    await asyncio.sleep(0)
    await commands.aclose()
    with pytest.raises(BusAway):
        await asyncio.wait_for(waiting, WITHIN_S)
