"""Sessions of the handshake era: opened once, shared by those who may, lost, expired; streams taken up again."""

import asyncio

import msgspec
import pytest

from core.call import Outgoing
from core.errors import Reason, Unavailable
from data_plane.upstreams import probe
from data_plane.upstreams.declared import carried
from data_plane.upstreams.mcp_http import HttpBackend
from tests.harness.upstream_raw import Peer, RawServer, Request, Script, event, result, scripted
from tests.harness.upstream_route import ECHO, over_http, route_to

NO_SESSION = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Session not found"}}'


class Legacy:
    """A legacy server whose sessions a test can make forget; what a call does is the test's script."""

    def __init__(
        self, call: Script, *, unknown: str = "404 Not Found", revision: str = "2025-11-25", beside: bool = True
    ) -> None:
        """`beside`: whether GET streams that take nothing up are the script's too, or are not there."""
        self._call = call
        self._beside = beside
        self._unknown = unknown
        self._revision = revision
        self.sessions: set[str] = set()
        self.opened = 0
        self.deleted = asyncio.Event()
        self.told: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        """What the client said that gets no answer."""

    async def script(self, request: Request, peer: Peer) -> None:
        session = request.headers.get("mcp-session-id", "")
        method = request.message.get("method")
        if method == "initialize":
            await self._open(request, peer)
        elif session not in self.sessions:
            await peer.json(NO_SESSION, status=self._unknown)
        elif request.verb == "DELETE":
            self.sessions.discard(session)
            self.deleted.set()
            await peer.json(b"")
        elif request.verb == "GET" and not self._beside and "last-event-id" not in request.headers:
            await peer.json(b"", status="405 Method Not Allowed")
        elif method == "tools/call" or request.verb == "GET":
            await self._call(request, peer)
        elif method in ("logging/setLevel", "ping"):
            await peer.json(msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "result": {}}))
        elif method == "tools/list":
            named = {"name": f"tool-{self.opened}", "inputSchema": {}}
            await peer.json(msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "result": {"tools": [named]}}))
        else:
            await peer.json(b"", status="202 Accepted")
            self.told.put_nowait(request.message)

    async def _open(self, request: Request, peer: Peer) -> None:
        self.opened += 1
        session = f"session-{self.opened}"
        self.sessions.add(session)
        answer = {
            "protocolVersion": self._revision,
            "capabilities": {"tools": {}, "logging": {}},
            "serverInfo": {"name": "legacy", "version": "1"},
        }
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "result": answer})
        await peer.json(body, headers=f"Mcp-Session-Id: {session}\r\n")

    async def hears(self, method: str) -> dict[str, object]:
        async with asyncio.timeout(20):
            while True:
                message = await self.told.get()
                if message.get("method") == method or "method" not in message:
                    return message


async def answers(request: Request, peer: Peer) -> None:
    await peer.json(result(request))


async def call(backend: HttpBackend, server: RawServer, outgoing: Outgoing = ECHO, **changes: object) -> bytes:
    route = route_to(over_http(server.url), era="legacy", **changes)  # type: ignore[arg-type]
    return (await backend.call(route, outgoing, lambda _: None)).result


async def test_a_session_is_opened_once_for_calls_at_once(backend: HttpBackend) -> None:
    legacy = Legacy(answers)
    async with scripted(legacy.script) as server:
        await asyncio.gather(*(call(backend, server) for _ in range(50)))
        assert legacy.opened == 1
        assert len(server.messages("notifications/initialized")) == 1
        first = server.messages("tools/call")[0]
        assert first.headers["mcp-session-id"] == "session-1"
        assert first.headers["mcp-protocol-version"] == "2025-11-25"
        assert len({r.id for r in server.messages("tools/call")}) == 50


async def test_callers_with_other_credentials_or_capabilities_do_not_share_it(backend: HttpBackend) -> None:
    legacy = Legacy(answers)
    async with scripted(legacy.script) as server:
        await call(backend, server, headers=((b"Authorization", b"Bearer a"),))
        await call(backend, server, headers=((b"Authorization", b"Bearer b"),))
        extended = Outgoing(arguments=b"{}", capabilities=b'{"extensions":{"x":{}}}')
        await call(backend, server, extended, headers=((b"Authorization", b"Bearer b"),))
        assert legacy.opened == 3


def test_only_what_holds_through_the_gateway_is_declared_and_always_in_the_same_bytes() -> None:
    said = b'{"sampling":{"tools":{},"x":{}},"roots":{"listChanged":true},"elicitation":{"form":{}},"tasks":{},'
    said += b'"experimental":{"y":{}},"extensions":{"b":{},"a":{"z":1,"y":2}}}'
    extensions = b'"extensions":{"a":{"y":2,"z":1},"b":{}}'
    assert carried(said, asked=False) == b"{%b}" % extensions
    assert carried(said, asked=True) == b'{"elicitation":{},%b,"roots":{},"sampling":{"tools":{}}}' % extensions
    both = b'{"elicitation":{"form":{},"url":{}}}'
    assert carried(b'{ "elicitation" : {"url":{}, "form":{}} }', asked=True) == carried(both, asked=True) == both
    for nothing in (b"", b"no json", b"[]", b'{"sampling":7}', b'{"extensions":[]}', b'{"sampling":null}'):
        assert carried(nothing, asked=True) == b"{}"
    assert carried(b'{"extensions":{"a":{"long":"%b"}}}' % (b"x" * 20_000), asked=True) == b"{}"


@pytest.mark.parametrize("unknown", ["404 Not Found", "400 Bad Request"])
async def test_a_forgotten_session_is_opened_again_and_the_call_sent_again(unknown: str, backend: HttpBackend) -> None:
    legacy = Legacy(answers, unknown=unknown)
    async with scripted(legacy.script) as server:
        await call(backend, server)
        legacy.sessions.clear()
        await asyncio.gather(*(call(backend, server) for _ in range(20)))
        assert legacy.opened == 2


async def test_a_look_at_a_server_that_was_started_anew_is_at_the_new_one(backend: HttpBackend) -> None:
    legacy = Legacy(answers)
    async with scripted(legacy.script) as server:
        route = route_to(over_http(server.url), era=None, declared="legacy")
        names = []
        for _ in range(2):
            seen = await probe.observe(route, backend)
            assert seen.error == ""
            names += [tool.name for tool in seen.tools]
            legacy.sessions.clear()
        assert names == ["tool-1", "tool-2"]


async def test_a_server_that_is_let_go_of_is_told(backend: HttpBackend) -> None:
    legacy = Legacy(answers)
    async with scripted(legacy.script) as server:
        await call(backend, server)
        backend.retire("acme", "upstream")
        async with asyncio.timeout(5):
            await legacy.deleted.wait()
        await call(backend, server)
        assert legacy.opened == 2


async def test_a_server_that_forgets_every_session_fails_the_call_after_one_retry(backend: HttpBackend) -> None:
    async def forgets(request: Request, peer: Peer) -> None:
        await peer.json(NO_SESSION, status="404 Not Found")

    legacy = Legacy(forgets)
    async with scripted(legacy.script) as server:
        with pytest.raises(Unavailable, match="forgets sessions"):
            await call(backend, server)
        assert legacy.opened == 2


async def test_cancelling_tells_the_server_which_request(backend: HttpBackend) -> None:
    here = asyncio.Event()

    async def hangs(_: Request, peer: Peer) -> None:
        here.set()
        await peer.until_gone()

    legacy = Legacy(hangs, beside=False)
    async with scripted(legacy.script) as server:
        running = asyncio.ensure_future(call(backend, server))
        async with asyncio.timeout(20):
            await here.wait()
        running.cancel()
        told = await legacy.hears("notifications/cancelled")
        assert told["params"]["requestId"] == server.messages("tools/call")[0].id  # type: ignore[index]
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_late_call_is_cancelled_at_the_server_even_over_a_single_connection(backend: HttpBackend) -> None:
    async def hangs(_: Request, peer: Peer) -> None:
        await peer.until_gone()

    legacy = Legacy(hangs, beside=False)
    async with scripted(legacy.script) as server:
        route = route_to(over_http(server.url, max_connections=1), era="legacy", deadline_s=0.3)
        with pytest.raises(Unavailable) as caught:
            await backend.call(route, ECHO, lambda _: None)
        assert caught.value.reason is Reason.UPSTREAM_TIMEOUT
        assert await legacy.hears("notifications/cancelled")


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("ping", {"result": {}}),
        (
            "elicitation/create",
            {"error": {"code": -32601, "message": "this client does not support elicitation/create"}},
        ),
    ],
)
async def test_a_question_of_the_server_on_a_calls_stream_is_answered(
    method: str, reply: dict[str, object], backend: HttpBackend
) -> None:
    legacy = Legacy(answers)

    async def asks(request: Request, peer: Peer) -> None:
        await peer.start_stream()
        question = {"jsonrpc": "2.0", "id": "q-1", "method": method, "params": {}}
        await peer.chunk(event(msgspec.json.encode(question)))
        assert await legacy.hears("") == {"jsonrpc": "2.0", "id": "q-1", **reply}
        await peer.chunk(event(result(request, "answered")))
        await peer.end_stream()

    legacy._call = asks
    async with scripted(legacy.script) as server:
        assert b"answered" in await call(backend, server)


async def test_a_stream_that_ends_early_is_taken_up_where_it_ended(backend: HttpBackend) -> None:
    asked: list[Request] = []

    async def in_pieces(request: Request, peer: Peer) -> None:
        await peer.start_stream()
        if request.verb == "POST":
            asked.append(request)
            await peer.chunk(b"id: p-0\nretry: 10\ndata:\n\n")
        elif request.headers["last-event-id"] == "p-0":
            note = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}'
            await peer.chunk(b"retry: 0\n" + event(note, event_id="p-1"))
        else:
            assert request.headers["last-event-id"] == "p-1"
            await peer.chunk(event(result(asked[0], "at last"), event_id="p-2"))
        await peer.end_stream()

    legacy = Legacy(in_pieces, beside=False)
    async with scripted(legacy.script) as server:
        assert b"at last" in await call(backend, server)
        assert [r.verb for r in server.requests] == ["POST", "POST", "GET", "POST", "GET", "GET"]
        assert server.requests[-1].headers["mcp-session-id"] == "session-1"


async def test_a_stream_that_never_gets_further_is_given_up(backend: HttpBackend) -> None:
    async def primes(_: Request, peer: Peer) -> None:
        await peer.start_stream()
        await peer.chunk(b"id: same\nretry: 0\ndata:\n\n")
        await peer.end_stream()

    legacy = Legacy(primes, beside=False)
    async with scripted(legacy.script) as server:
        with pytest.raises(Unavailable, match="keeps ending"):
            await call(backend, server)
        assert len([r for r in server.requests if "last-event-id" in r.headers]) == 5


async def test_an_idle_session_is_ended_at_the_server() -> None:
    backend = HttpBackend(session_idle_s=0)
    legacy = Legacy(answers)
    async with scripted(legacy.script) as server:
        await call(backend, server)
        backend._expire()
        async with asyncio.timeout(20):
            await legacy.deleted.wait()
        await call(backend, server)
        assert legacy.opened == 2
        await backend.close()


async def test_closing_ends_sessions_at_the_server() -> None:
    backend = HttpBackend()
    legacy = Legacy(answers)
    async with scripted(legacy.script) as server:
        await call(backend, server)
        await backend.close()
        assert legacy.sessions == set()


async def test_a_failed_opening_is_tried_again_by_the_next_call(backend: HttpBackend) -> None:
    legacy = Legacy(answers)
    broken = True

    async def script(request: Request, peer: Peer) -> None:
        await (peer.json(b"oops", status="500 Oops") if broken else legacy.script(request, peer))

    async with scripted(script) as server:
        for failure in await asyncio.gather(*(call(backend, server) for _ in range(5)), return_exceptions=True):
            assert isinstance(failure, Unavailable)
        broken = False
        assert b"ok" in await call(backend, server)


async def test_a_caller_that_goes_away_does_not_take_the_opening_with_it(backend: HttpBackend) -> None:
    legacy, opening, go_on = Legacy(answers), asyncio.Event(), asyncio.Event()

    async def script(request: Request, peer: Peer) -> None:
        if request.message.get("method") == "initialize":
            opening.set()
            await go_on.wait()
        await legacy.script(request, peer)

    async with scripted(script) as server:
        first, second = (asyncio.ensure_future(call(backend, server)) for _ in range(2))
        async with asyncio.timeout(20):
            await opening.wait()
            first.cancel()
            go_on.set()
            assert b"ok" in await second
        assert legacy.opened == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_the_log_level_is_lowered_for_the_session_and_never_raised(backend: HttpBackend) -> None:
    legacy = Legacy(answers)
    async with scripted(legacy.script) as server:
        for level in ("warning", "info", "error", "info"):
            await call(backend, server, Outgoing(arguments=b"{}", log_level=level))
        levels = [r.message["params"] for r in server.messages("logging/setLevel")]
        assert levels == [{"level": "warning"}, {"level": "info"}]


async def test_a_server_that_insists_on_an_unknown_revision_is_not_spoken_to(backend: HttpBackend) -> None:
    async with scripted(Legacy(answers, revision="2099-01-01").script) as server:
        with pytest.raises(Unavailable, match="insists on protocol version 2099-01-01"):
            await call(backend, server)
