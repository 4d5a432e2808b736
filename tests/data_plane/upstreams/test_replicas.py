"""Several URLs of one server: calls spread over them, sessions where they began, away from the sick."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any

import pytest

from core.call import Outgoing
from core.errors import Unavailable
from core.server import HttpTransport, Replica
from data_plane.upstreams.mcp_http import HttpBackend
from tests.data_plane.upstreams.test_legacy import Legacy
from tests.harness.upstream_raw import Peer, RawServer, Request, result, scripted
from tests.harness.upstream_route import ECHO, route_to


def spread(*urls: str, weights: tuple[int, ...] = (), balance: Any = "round_robin") -> HttpTransport:
    weights = weights or (1,) * len(urls)
    further = [Replica(url=url, weight=weight) for url, weight in zip(urls[1:], weights[1:], strict=True)]
    return HttpTransport(url=urls[0], weight=weights[0], replicas=further, balance=balance, allow_private=True)


async def call(backend: HttpBackend, transport: HttpTransport, outgoing: Outgoing = ECHO, **changes: Any) -> bytes:
    return (await backend.call(route_to(transport, **changes), outgoing, lambda _: None)).result


async def answers(request: Request, peer: Peer) -> None:
    await peer.json(result(request))


async def breaks(_: Request, peer: Peer) -> None:
    await peer.json(b"oops", status="503 Service Unavailable", kind="text/plain")


@asynccontextmanager
async def three(*scripts: Any) -> AsyncIterator[list[RawServer]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(scripted(script)) for script in scripts or (answers,) * 3]


@pytest.fixture
def dead() -> Iterator[str]:
    """Where nobody listens, for as long as the test runs."""
    import socket

    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/mcp"


def counts(servers: list[RawServer]) -> list[int]:
    return [len(server.messages("tools/call")) for server in servers]


async def test_modern_calls_take_turns(backend: HttpBackend) -> None:
    async with three() as servers:
        transport = spread(*(server.url for server in servers))
        for _ in range(9):
            await call(backend, transport)
        assert counts(servers) == [3, 3, 3]


async def test_weights_are_kept(backend: HttpBackend) -> None:
    async with three() as servers:
        transport = spread(*(server.url for server in servers), weights=(4, 1, 1), balance="weighted")
        for _ in range(12):
            await call(backend, transport)
        assert counts(servers) == [8, 2, 2]


async def test_the_least_busy_gets_the_call(backend: HttpBackend) -> None:
    go, held = asyncio.Event(), asyncio.Event()

    async def slow(request: Request, peer: Peer) -> None:
        held.set()
        await go.wait()
        await answers(request, peer)

    async with three(slow, answers) as servers:
        transport = spread(*(server.url for server in servers), balance="least_in_flight")
        first = asyncio.ensure_future(call(backend, transport))
        async with asyncio.timeout(5):
            await held.wait()
        for _ in range(4):
            await call(backend, transport)
        go.set()
        await first
        assert counts(servers) == [1, 4]


async def test_a_replica_nobody_listens_at_costs_no_call(backend: HttpBackend, dead: str) -> None:
    async with three(answers) as servers:
        transport = spread(dead, servers[0].url)
        for _ in range(10):
            await call(backend, transport)
        bound = backend.bounds()["upstream_replicas_ejected"]
        assert (bound.held, bound.cap) == (1, 2)


async def test_a_replica_that_answers_5xx_is_left_out_and_its_calls_are_not_run_twice(backend: HttpBackend) -> None:
    async with three(breaks, answers) as servers:
        transport = spread(*(server.url for server in servers))
        outcomes = Counter[str]()
        for _ in range(20):
            try:
                await call(backend, transport)
                outcomes["fine"] += 1
            except Unavailable:
                outcomes["failed"] += 1
        assert outcomes == {"failed": 3, "fine": 17}
        assert counts(servers) == [3, 17]


async def test_where_all_are_sick_the_last_one_is_still_tried(backend: HttpBackend, dead: str) -> None:
    transport = spread(dead, dead + "/other")
    for _ in range(12):
        with pytest.raises(Unavailable):
            await call(backend, transport)
    assert backend.bounds()["upstream_replicas_ejected"].held == 1


async def test_a_session_stays_where_it_began_and_each_callers_own_begins_in_turn(backend: HttpBackend) -> None:
    legacies = [Legacy(answers), Legacy(answers)]
    async with three(*(legacy.script for legacy in legacies)) as servers:
        transport = spread(*(server.url for server in servers))
        for _ in range(5):
            for who in (b"ada", b"bob"):
                await call(backend, transport, Outgoing(arguments=b"{}", principal=who), era="legacy")
        assert [legacy.opened for legacy in legacies] == [1, 1]
        assert counts(servers) == [5, 5]


async def test_a_legacy_server_without_session_ids_is_free(backend: HttpBackend) -> None:
    async def stateless(request: Request, peer: Peer) -> None:
        if request.message.get("method") == "initialize":
            answer = b'{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"a","version":"1"}}'
            await peer.json(b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (request.id, answer))
        elif "id" in request.message:
            await answers(request, peer)
        else:
            await peer.json(b"", status="202 Accepted")

    async with three(stateless, stateless) as servers:
        transport = spread(*(server.url for server in servers))
        for _ in range(9):
            await call(backend, transport, era="legacy")
        assert min(counts(servers)) >= 4


async def test_a_session_moves_when_its_replica_dies(backend: HttpBackend) -> None:
    legacies = [Legacy(answers), Legacy(answers)]
    async with three(*(legacy.script for legacy in legacies)) as servers:
        transport = spread(*(server.url for server in servers))
        await call(backend, transport, era="legacy")
        home = 0 if legacies[0].opened else 1
        legacies[home].script = breaks  # type: ignore[method-assign]
        servers[home]._script = breaks
        failures = 0
        for _ in range(10):
            try:
                await call(backend, transport, era="legacy")
            except Unavailable:
                failures += 1
        assert failures == 3
        assert legacies[1 - home].opened == 1


async def test_changed_replicas_take_effect_at_once(backend: HttpBackend) -> None:
    async with three(answers, answers) as servers:
        await call(backend, spread(servers[0].url, servers[0].url))
        await call(backend, spread(servers[1].url, servers[1].url))
        assert counts(servers) == [1, 1]
