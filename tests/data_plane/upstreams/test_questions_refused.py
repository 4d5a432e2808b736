"""Servers that ask where nobody can be asked, over Streamable HTTP."""

import asyncio

import pytest

from core.errors import Unavailable
from data_plane.upstreams.greeting import Greeting
from data_plane.upstreams.mcp_http import HttpBackend
from tests.data_plane.upstreams.test_conversation_http import asking, call
from tests.data_plane.upstreams.test_legacy import Legacy
from tests.harness.upstream_raw import Peer, Request, event, result, scripted
from tests.harness.upstream_route import ECHO, over_http, route_to


@pytest.mark.parametrize("method", ["roots/list", "sampling/createMessage", "elicitation/create"])
async def test_a_question_beside_that_nobody_can_be_asked_is_refused_at_once(backend: HttpBackend, method: str) -> None:
    stream: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()

    async def asks(request: Request, peer: Peer) -> None:
        if request.verb == "GET":
            await peer.start_stream()
            stream.set_result(peer)
            await peer.until_gone()
        else:
            await (await stream).chunk(event(asking("q", method)))
            told = await legacy.hears("")
            await peer.json(result(request, str(told["error"]["code"])))  # type: ignore[index]

    legacy = Legacy(asks)
    async with scripted(legacy.script) as server:
        async with asyncio.timeout(5):
            assert b"-32601" in await call(backend, server, ECHO, ask=None)
        await call(backend, server, ECHO, ask=None)
        assert [request.verb for request in server.requests].count("GET") == 1


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_question_where_nothing_can_be_asked_ends_at_once(backend: HttpBackend, era: str) -> None:
    """On the stream of a modern call there is no way to answer; on that of a request of the gateway's own nobody."""

    async def asks(request: Request, peer: Peer) -> None:
        await peer.start_stream()
        await peer.chunk(event(asking("q")))
        if era == "legacy":
            told = await legacy.hears("")
            await peer.chunk(event(result(request, str(told["error"]["code"]))))  # type: ignore[index]
        await peer.until_gone()

    async def script(request: Request, peer: Peer) -> None:
        if era == "modern" or request.message.get("method") == "tools/list":
            await asks(request, peer)
        else:
            await legacy.script(request, peer)

    legacy = Legacy(asks, beside=False)
    async with scripted(script) as server, asyncio.timeout(5):
        route = route_to(over_http(server.url), era=era)  # type: ignore[arg-type]
        if era == "modern":
            with pytest.raises(Unavailable, match="where nothing can be asked"):
                await backend.call(route, ECHO, lambda _: None, None)
        else:
            greeting = Greeting(era="legacy", revision="2025-11-25")
            assert b"-32601" in (await backend.ask(route, greeting, "tools/list", b"")).result
