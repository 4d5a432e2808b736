"""What a node does with what its workers share."""

import asyncio
from contextlib import AsyncExitStack
from time import monotonic

import pytest

from adapters.memory.bus import MemoryCache, MemoryEvents
from adapters.redis.bus import RedisBus
from adapters.redis.commands import Commands
from core.bus import GAP, BusAway
from data_plane.supervisor.bus import NodeBus, Shared
from tests.harness.bus import WITHIN_S, Inbox
from tests.harness.node_bus import join
from tests.harness.redis import RedisServer


async def test_workers_of_a_node_reach_each_other_while_redis_is_away_and_other_nodes_once_it_is_back(
    redis_server: RedisServer,
) -> None:
    async with AsyncExitStack() as stack:
        nodes = []
        for _ in range(2):
            commands = Commands(redis_server.url)
            stack.push_async_callback(commands.aclose)
            outer = RedisBus(commands, prefix="away:")
            stack.push_async_callback(outer.aclose)
            node = NodeBus(outer)
            stack.push_async_callback(node.close)
            running = asyncio.ensure_future(node.run())
            stack.push_async_callback(asyncio.wait, [running])
            stack.callback(running.cancel)
            nodes.append(node)
        redis_server.kill()
        here, there, gaps = Inbox(), Inbox(), Inbox()
        await nodes[0].subscribe("t", here)
        await nodes[0].subscribe(GAP, gaps)
        await nodes[1].subscribe("t", there)
        await nodes[0].publish("t", b"1")
        assert here.messages == [b"1"]
        with pytest.raises(BusAway):
            await nodes[0].publish("nobody here listens to this", b"x")
        await asyncio.to_thread(redis_server.start)
        async with asyncio.timeout(WITHIN_S):
            while not there.messages:
                await nodes[0].publish("t", b"2")
                await asyncio.sleep(0.05)
        assert there.messages[0] == b"2"
        assert (await gaps.has(1))[0] == b""
        assert set(here.messages) == {b"1", b"2"}
        assert nodes[0].away >= 2


async def test_a_workers_subscriptions_die_with_it() -> None:
    node = NodeBus(None)
    shared = Shared(node, MemoryCache(monotonic), MemoryEvents(monotonic))
    dying, staying = await join(shared), await join(shared)
    inbox = Inbox()
    await dying.bus.subscribe("t", Inbox())
    await staying.bus.subscribe("t", inbox)
    await dying.bus.subscribe("u", Inbox())
    assert node.topics == 2
    await dying.close()
    assert node.topics == 1
    await staying.bus.publish("t", b"x")
    assert await inbox.has(1) == [b"x"]
    with pytest.raises(BusAway):
        await dying.bus.publish("t", b"x")
    with pytest.raises(BusAway):
        await dying.bus.subscribe("v", Inbox())
    with pytest.raises(BusAway):
        await dying.cache.get("k")
    await staying.close()


async def test_a_worker_has_one_subscription_a_topic_however_many_listen_in_it() -> None:
    node = NodeBus(None)
    worker = await join(Shared(node, MemoryCache(monotonic), MemoryEvents(monotonic)))
    inboxes = [Inbox() for _ in range(10)]
    leaves = await asyncio.gather(*(worker.bus.subscribe("t", inbox) for inbox in inboxes))
    assert node.bounds()["bus_subscriptions"].held == 1
    await worker.bus.publish("t", b"x")
    for inbox in inboxes:
        assert await inbox.has(1) == [b"x"]
    for leave in leaves:
        leave()
    await worker.cache.get("all that was told before is heard by now")
    assert node.topics == 0
    await worker.close()


async def test_a_full_node_refuses_a_subscription_and_the_worker_may_try_again() -> None:
    node = NodeBus(None, most=1)
    worker = await join(Shared(node, MemoryCache(monotonic), MemoryEvents(monotonic)))
    leave = await worker.bus.subscribe("t", Inbox())
    with pytest.raises(BusAway, match="1 subscriptions"):
        await worker.bus.subscribe("u", Inbox())
    leave()
    await worker.bus.subscribe("u", Inbox())
    await worker.close()


async def test_a_worker_that_reads_nothing_loses_messages_and_is_not_cut_for_it() -> None:
    node = NodeBus(None)
    worker = await join(Shared(node, MemoryCache(monotonic), MemoryEvents(monotonic)))
    inbox, gaps = Inbox(), Inbox()
    await worker.bus.subscribe("t", inbox)
    await worker.bus.subscribe(GAP, gaps)
    for _ in range(20):  # All in one turn of the loop: the worker's end has no chance to read.
        await node.publish("t", b"x" * 2_000_000)
    lost = worker.supervisors_end.bounds()["channel_news_bytes"].hits
    assert 0 < lost < 20
    assert len(await inbox.has(20 - lost)) == 20 - lost
    await worker.bus.publish("t", b"after")
    assert (await inbox.has(21 - lost))[-1] == b"after"
    assert await gaps.has(1) == [b""]
    await worker.close()
