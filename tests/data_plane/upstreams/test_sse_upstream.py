"""HTTP+SSE servers that are broken, hostile or merely gone; and where their messages may be posted."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec
import pytest

from core.call import Ask, Outgoing, Question, Reply
from core.errors import Reason, Unavailable
from core.server import SseTransport
from data_plane.upstreams import sse_channel
from data_plane.upstreams.channels import ChannelBackend
from tests.harness.upstream_raw import Peer, RawServer, Request, event, scripted
from tests.harness.upstream_route import ECHO, route_to

Post = Callable[["Sse", Request, Peer], Coroutine[None, None, None]]
ROOTS = b'{"roots":{}}'


class Sse:
    """A 2024-11-05 server for one client at a time; what a call does is the test's script."""

    def __init__(self, call: Post | None = None, endpoint: str = "/messages?session=1") -> None:
        self._call = call
        self.endpoint = endpoint
        self.streams: list[Peer] = []
        self.replies: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.status = "202 Accepted"
        self._calls: list[asyncio.Future[None]] = []

    async def script(self, request: Request, peer: Peer) -> None:
        if request.verb == "GET":
            await peer.start_stream()
            self.streams.append(peer)
            if self.endpoint:
                await peer.chunk(f"event: endpoint\ndata: {self.endpoint}\n\n".encode())
            await peer.until_gone()
            return
        await peer.json(b"", status=self.status)
        if self.status.startswith("202"):
            await self._post(request, peer)

    async def _post(self, request: Request, peer: Peer) -> None:
        message = request.message
        if message.get("method") == "initialize":
            info = {"name": "sse", "version": "1"}
            await self.say(
                id=request.id, result={"protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": info}
            )
        elif message.get("method") == "tools/call":
            # Apart: the next message may come on this very connection.
            self._calls.append(asyncio.ensure_future((self._call or answers)(self, request, peer)))
        else:
            self.replies.put_nowait(message)

    async def say(self, **message: object) -> None:
        await self.streams[-1].chunk(event(msgspec.json.encode({"jsonrpc": "2.0", **message})))

    async def answer(self, request: Request, text: str = "ok") -> None:
        await self.say(id=request.id, result={"content": [{"type": "text", "text": text}]})

    async def reply(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while True:
                message = await self.replies.get()
                if "method" not in message:
                    return message


async def answers(sse: Sse, request: Request, _: Peer) -> None:
    await sse.answer(request)


@pytest.fixture
async def backend() -> AsyncIterator[ChannelBackend]:
    backend = ChannelBackend(SseTransport, sse_channel.connect, modern=False)
    yield backend
    await backend.close()


async def call(
    backend: ChannelBackend, server: RawServer, outgoing: Outgoing = ECHO, ask: Ask | None = None, **changes: Any
) -> bytes:
    route = route_to(SseTransport(url=server.url, allow_private=True), **{"era": "legacy", **changes})
    return (await backend.call(route, outgoing, lambda _: None, ask)).result


async def test_messages_go_where_the_server_says_with_the_headers_of_the_stream(backend: ChannelBackend) -> None:
    sse = Sse()
    async with scripted(sse.script) as server:
        assert b"ok" in await call(backend, server, headers=((b"Authorization", b"Bearer a"),))
        assert b"ok" in await call(backend, server, headers=((b"Authorization", b"Bearer a"),))
        assert len(sse.streams) == 1
        posts = [request for request in server.requests if request.verb == "POST"]
        assert {request.path for request in posts} == {"/messages?session=1"}
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer a"}
        assert [request.message["method"] for request in posts[:2]] == ["initialize", "notifications/initialized"]


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://evil.example/messages",
        "https://127.0.0.1/messages",
        "//evil.example/messages",
        "http://127.0.0.1:1/messages",
        "ftp://127.0.0.1/x",
        "http://[::1",
        "/with blanks",
        "/" + "x" * 5000,
    ],
)
async def test_an_endpoint_elsewhere_never_gets_the_credential(endpoint: str, backend: ChannelBackend) -> None:
    sse = Sse(endpoint=endpoint)
    async with scripted(sse.script) as server:
        with pytest.raises(Unavailable, match="endpoint"):
            await call(backend, server)
        assert [request.verb for request in server.requests] == ["GET"]


async def test_a_stream_that_names_no_endpoint_meets_the_deadline(backend: ChannelBackend) -> None:
    async with scripted(Sse(endpoint="").script) as server:
        with pytest.raises(Unavailable) as caught:
            await call(backend, server, deadline_s=0.3)
        assert caught.value.reason is Reason.UPSTREAM_TIMEOUT


@pytest.mark.parametrize(("status", "kind"), [("403 Forbidden", "text/event-stream"), ("200 OK", "text/html")])
async def test_what_is_no_event_stream_is_said_to_be_none(status: str, kind: str, backend: ChannelBackend) -> None:
    async def other(_: Request, peer: Peer) -> None:
        await peer.json(b"<html>", status=status, kind=kind)

    async with scripted(other) as server:
        with pytest.raises(Unavailable, match=f"HTTP {status[:3]}"):
            await call(backend, server)


async def test_the_end_of_the_stream_fails_calls_under_way_and_the_next_opens_another(backend: ChannelBackend) -> None:
    async def hangs_up(sse: Sse, request: Request, _: Peer) -> None:
        if len(sse.streams) == 1:
            sse.streams[0].close()
        else:
            await sse.answer(request)

    sse = Sse(hangs_up)
    async with scripted(sse.script) as server:
        with pytest.raises(Unavailable):
            await call(backend, server)
        assert b"ok" in await call(backend, server)
        assert len(sse.streams) == 2


@pytest.mark.parametrize("status", ["404 Not Found", "500 Internal Server Error", "307 Temporary Redirect"])
async def test_a_message_that_is_not_taken_fails_its_call(status: str, backend: ChannelBackend) -> None:
    sse = Sse()
    async with scripted(sse.script) as server:
        await call(backend, server)
        sse.status = status
        with pytest.raises(Unavailable):
            await call(backend, server, deadline_s=3)
        sse.status = "202 Accepted"
        assert b"ok" in await call(backend, server)
        assert len(sse.streams) == (2 if status.startswith("404") else 1)


@pytest.mark.parametrize("garbage", [b"data: {]\n\n", b"data: [1,2]\n\n"])
async def test_what_is_no_message_ends_the_stream(garbage: bytes, backend: ChannelBackend) -> None:
    async def odd(sse: Sse, _: Request, __: Peer) -> None:
        await sse.streams[-1].chunk(garbage)

    async with scripted(Sse(odd).script) as server:
        with pytest.raises(Unavailable, match="no JSON-RPC message"):
            await call(backend, server)


async def test_an_event_beyond_the_cap_fails_the_call_as_too_large(backend: ChannelBackend) -> None:
    async def drips(sse: Sse, _: Request, __: Peer) -> None:
        for _number in range(100):
            await sse.streams[-1].chunk(b"data: " + b"x" * 50_000 + b"\n")

    async with scripted(Sse(drips).script) as server:
        with pytest.raises(Unavailable) as caught:
            await call(backend, server, max_result_bytes=200_000)
        assert caught.value.reason is Reason.UPSTREAM_TOO_LARGE


async def test_a_question_is_answered_and_those_of_two_callers_are_not_mixed(backend: ChannelBackend) -> None:
    waiting: list[Request] = []

    async def asks(sse: Sse, request: Request, _: Peer) -> None:
        waiting.append(request)
        if request.message["params"]["name"] == "asks":  # type: ignore[index]
            await sse.say(id="q", method="roots/list")
            reply = await sse.reply()
            for one in waiting:
                await sse.answer(one, msgspec.json.encode(reply).decode())
            waiting.clear()

    async def answered(_: Question) -> Reply:
        return Reply(result=b'{"roots":[]}')

    sse = Sse(asks)
    ada = Outgoing(arguments=b"{}", capabilities=ROOTS, principal=b"ada")
    bob = Outgoing(arguments=b"{}", capabilities=ROOTS, principal=b"bob")
    async with scripted(sse.script) as server:
        assert b"roots" in await call(backend, server, ada, answered, tool="asks")
        other = asyncio.ensure_future(call(backend, server, bob, answered, tool="waits"))
        async with asyncio.timeout(5):
            while not waiting:
                await asyncio.sleep(0.005)
        assert b"-32603" in await call(backend, server, ada, answered, tool="asks")
        await other


async def test_a_cancellation_does_not_overtake_its_call(backend: ChannelBackend) -> None:
    order: list[str] = []
    got, both = asyncio.Event(), asyncio.Event()

    async def slow(request: Request, peer: Peer) -> None:
        method = str(request.message.get("method", ""))
        if method == "tools/call":
            got.set()
            await asyncio.sleep(0.05)  # The server is slow to take it, and a later message would come first.
        order.append(method)
        await sse.script(request, peer)
        if method == "notifications/cancelled":
            both.set()

    async def hangs(_: Sse, __: Request, ___: Peer) -> None:
        return

    sse = Sse(hangs)
    async with scripted(slow) as server:
        running = asyncio.ensure_future(call(backend, server))
        async with asyncio.timeout(5):
            await got.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        async with asyncio.timeout(5):
            await both.wait()
        assert order[-2:] == ["tools/call", "notifications/cancelled"]


async def test_it_has_no_modern_era(backend: ChannelBackend) -> None:
    async with scripted(Sse().script) as server:
        transport = SseTransport(url=server.url, allow_private=True)
        with pytest.raises(Unavailable, match="modern"):
            await backend.greet(route_to(transport, era=None, declared="modern"))
        with pytest.raises(Unavailable, match="modern"):
            await call(backend, server, era="modern")
        greeting = await backend.greet(route_to(transport, era=None))
        assert (greeting.era, greeting.revision) == ("legacy", "2024-11-05")
