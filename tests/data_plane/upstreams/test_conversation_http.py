"""What happens during a call and beside calls, over Streamable HTTP: questions, resumption, news, stale headers."""

import asyncio
from typing import Any

import msgspec
import pytest

from core.call import Ask, Interest, Notification, Outgoing, Question, Reply
from core.errors import Unavailable
from data_plane.upstreams.mcp_http import HttpBackend
from tests.data_plane.upstreams.test_legacy import Legacy
from tests.harness.upstream_raw import Peer, RawServer, Request, event, result, scripted
from tests.harness.upstream_route import ECHO, over_http, route_to

ROOTS = Outgoing(arguments=b"{}", capabilities=b'{"roots":{}}', principal=b"ada")


async def call(
    backend: HttpBackend, server: RawServer, outgoing: Outgoing = ROOTS, ask: Ask | None = None, **changes: Any
) -> bytes:
    route = route_to(over_http(server.url), **{"era": "legacy", **changes})
    return (await backend.call(route, outgoing, lambda _: None, ask)).result


async def answered(_: Question) -> Reply:
    return Reply(result=b'{"roots":[]}')


def asking(request_id: object, method: str = "roots/list", **params: object) -> bytes:
    message: dict[str, object] = {"jsonrpc": "2.0", "id": request_id, "method": method}
    return msgspec.json.encode(message | ({"params": params} if params else {}))


async def test_a_question_on_a_resumed_stream_is_answered_in_the_session(backend: HttpBackend) -> None:
    posted: list[Request] = []

    async def drops(request: Request, peer: Peer) -> None:
        await peer.start_stream()
        if request.verb == "POST":
            posted.append(request)
            await peer.chunk(b"id: 1\nretry: 10\ndata:\n\n")
            await peer.end_stream()
            return
        assert request.headers["last-event-id"] == "1"
        await peer.chunk(event(asking("q"), event_id="2"))
        reply = await legacy.hears("")
        await peer.chunk(event(result(posted[0], str(reply["result"])), event_id="3"))
        await peer.end_stream()

    legacy = Legacy(drops)
    async with scripted(legacy.script) as server:
        assert b"roots" in await call(backend, server, ask=answered)
        [reply] = [request for request in server.requests if request.message.get("id") == "q"]
        assert reply.headers["mcp-session-id"] == "session-1"


async def test_a_call_that_has_the_last_connection_is_answered_its_question(backend: HttpBackend) -> None:
    async def asks(request: Request, peer: Peer) -> None:
        await peer.start_stream()
        await peer.chunk(event(asking("q")))
        await legacy.hears("")
        await peer.chunk(event(result(request)))
        await peer.end_stream()

    async def only_calls(request: Request, peer: Peer) -> None:
        if request.verb == "GET":
            await peer.json(b"", status="405 Method Not Allowed")
        else:
            await legacy.script(request, peer)

    legacy = Legacy(asks)
    async with scripted(only_calls) as server:
        route = route_to(over_http(server.url, max_connections=1), era="legacy")
        assert b"ok" in (await backend.call(route, ROOTS, lambda _: None, answered)).result


async def test_questions_of_two_calls_at_once_go_each_to_its_own_caller(backend: HttpBackend) -> None:
    """Each on its own stream: what one channel cannot tell apart, HTTP does."""
    replies: dict[str, asyncio.Future[dict[str, object]]] = {}

    async def asks(request: Request, peer: Peer) -> None:
        key = str(request.id)
        replies[key] = asyncio.get_running_loop().create_future()
        await peer.start_stream()
        await peer.chunk(event(asking(key)))
        await peer.chunk(event(result(request, str((await replies[key])["result"]))))
        await peer.end_stream()

    async def script(request: Request, peer: Peer) -> None:
        if "result" in request.message:
            replies[str(request.id)].set_result(request.message)
        await legacy.script(request, peer)

    def named(name: str) -> Ask:
        async def ask(_: Question) -> Reply:
            return Reply(result=b'{"roots":["%b"]}' % name.encode())

        return ask

    legacy = Legacy(asks)
    async with scripted(script) as server:
        got = await asyncio.gather(*(call(backend, server, ask=named(f"n{n}")) for n in range(8)))
        assert [f"n{n}".encode() in one for n, one in enumerate(got)] == [True] * 8
        assert legacy.opened == 1


async def test_a_server_that_does_not_take_an_answer_fails_the_call(backend: HttpBackend) -> None:
    async def asks(_: Request, peer: Peer) -> None:
        await peer.start_stream()
        await peer.chunk(event(asking("q")))
        await peer.until_gone()

    async def script(request: Request, peer: Peer) -> None:
        if "result" in request.message:
            await peer.json(b"", status="500 Internal Server Error")
        else:
            await legacy.script(request, peer)

    legacy = Legacy(asks)
    async with scripted(script) as server:
        with pytest.raises(Unavailable, match="does not take the answer"):
            await call(backend, server, ask=answered)


async def test_the_deadline_stands_still_while_the_caller_thinks_and_no_longer(backend: HttpBackend) -> None:
    async def asks(request: Request, peer: Peer) -> None:
        await peer.start_stream()
        await peer.chunk(event(asking("q")))
        await legacy.hears("")
        if request.message["params"]["name"] == "answers":  # type: ignore[index]
            await peer.chunk(event(result(request)))
            await peer.end_stream()
        await peer.until_gone()

    async def thinks(_: Question) -> Reply:
        await asyncio.sleep(0.6)  # Longer than the deadline, and no event says when that has passed.
        return Reply(result=b"{}")

    legacy = Legacy(asks)
    async with scripted(legacy.script) as server:
        assert b"ok" in await call(backend, server, ask=thinks, deadline_s=0.5, tool="answers")
        with pytest.raises(Unavailable, match="upstream_timeout"):
            await call(backend, server, ask=thinks, deadline_s=0.5, tool="hangs")


async def test_the_end_of_a_call_ends_its_questions(backend: HttpBackend) -> None:
    asked, given_up = asyncio.Event(), asyncio.Event()

    async def asks(_: Request, peer: Peer) -> None:
        await peer.start_stream()
        await peer.chunk(event(asking("q")))
        await peer.until_gone()

    async def thinks(_: Question) -> Reply:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        return Reply()

    legacy = Legacy(asks)
    async with scripted(legacy.script) as server:
        running = asyncio.ensure_future(call(backend, server, ask=thinks))
        async with asyncio.timeout(5):
            await asked.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert given_up.is_set()
        while "params" not in await legacy.hears("notifications/cancelled"):
            """It is told that its questions are taken back as well."""


@pytest.mark.parametrize(("method", "again"), [("resources/read", True), ("tools/call", False)])
async def test_a_session_lost_in_a_resumed_call_is_begun_again_for_what_only_reads(
    method: str, again: bool, backend: HttpBackend
) -> None:
    async def script(request: Request, peer: Peer) -> None:
        if request.message.get("method") == method:
            if legacy.opened == 2:
                await peer.json(result(request))
                return
            await peer.start_stream()
            await peer.chunk(b"id: 1\nretry: 1\ndata:\n\n")
            await peer.end_stream()
            legacy.sessions.clear()
        else:
            await legacy.script(request, peer)

    async def never(_: Request, __: Peer) -> None:
        raise AssertionError

    legacy = Legacy(never)
    async with scripted(script) as server:
        outgoing = Outgoing(arguments=b"{}", method=method)
        if again:
            assert b"ok" in await call(backend, server, outgoing)
        else:
            with pytest.raises(Unavailable, match="the session ended"):
                await call(backend, server, outgoing)
        assert legacy.opened == (2 if again else 1)


# News.


async def listening(
    backend: HttpBackend, server: RawServer, interest: Interest, *, era: Any = "legacy"
) -> "tuple[asyncio.Task[None], asyncio.Queue[Notification], asyncio.Event]":
    notes: asyncio.Queue[Notification] = asyncio.Queue()
    began = asyncio.Event()
    route = route_to(over_http(server.url), era=era)
    watching = asyncio.ensure_future(backend.watch(route, interest, notes.put_nowait, began=began.set))
    return watching, notes, began


async def test_a_server_that_tells_only_in_answers_says_so(backend: HttpBackend) -> None:
    async def no_get(_: Request, peer: Peer) -> None:
        await peer.json(b"", status="405 Method Not Allowed")

    async with scripted(Legacy(no_get).script) as server:
        watching, _, began = await listening(backend, server, Interest())
        with pytest.raises(Unavailable, match="405"):
            await watching
        assert not began.is_set()


async def test_a_stream_of_news_is_taken_up_again_where_it_broke(backend: HttpBackend) -> None:
    changed = msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})

    async def breaks(request: Request, peer: Peer) -> None:
        await peer.start_stream()
        seen = request.headers.get("last-event-id", "0")
        if seen == "3":
            await peer.until_gone()
        await peer.chunk(b"retry: 5\n" + event(changed, event_id=str(int(seen) + 1)))
        await peer.end_stream()

    legacy = Legacy(breaks)
    async with scripted(legacy.script) as server:
        watching, notes, _ = await listening(backend, server, Interest())
        async with asyncio.timeout(5):
            got = [(await notes.get()).method for _ in range(3)]
        assert got == ["notifications/tools/list_changed"] * 3
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        async with asyncio.timeout(5):
            await legacy.deleted.wait()


async def test_a_stream_of_news_without_ids_is_lost_when_it_ends(backend: HttpBackend) -> None:
    async def ends(_: Request, peer: Peer) -> None:
        await peer.start_stream()
        await peer.end_stream()

    async with scripted(Legacy(ends).script) as server:
        watching, _, _ = await listening(backend, server, Interest())
        with pytest.raises(Unavailable, match="ended"):
            await watching


async def test_a_ping_on_the_stream_of_news_is_answered_and_a_question_refused(backend: HttpBackend) -> None:
    async def asks(_: Request, peer: Peer) -> None:
        await peer.start_stream()
        await peer.chunk(event(asking("p", "ping")))
        await peer.chunk(event(asking("q")))
        await peer.until_gone()

    legacy = Legacy(asks)
    async with scripted(legacy.script) as server:
        watching, _, _ = await listening(backend, server, Interest())
        replies = [await legacy.hears(""), await legacy.hears("")]
        kinds = {str(reply["id"]): "result" in reply for reply in replies if "method" not in reply}
        assert kinds in ({"p": True, "q": False}, {"p": True}, {"q": False})
        watching.cancel()


async def test_a_modern_server_that_keeps_nothing_asked_for_is_not_listened_to(backend: HttpBackend) -> None:
    async def modern(request: Request, peer: Peer) -> None:
        assert request.headers["mcp-method"] == "subscriptions/listen"
        await peer.start_stream()
        note = {"method": "notifications/subscriptions/acknowledged", "params": {"notifications": {}}}
        await peer.chunk(event(msgspec.json.encode({"jsonrpc": "2.0", **note})))
        await peer.until_gone()

    async with scripted(modern) as server:
        watching, _, began = await listening(backend, server, Interest(), era="modern")
        with pytest.raises(Unavailable, match="nothing that was asked for"):
            await watching
        assert not began.is_set()


async def test_a_modern_server_that_never_acknowledges_meets_the_deadline(backend: HttpBackend) -> None:
    async def modern(_: Request, peer: Peer) -> None:
        await peer.start_stream()
        await peer.until_gone()

    async with scripted(modern) as server:
        route = route_to(over_http(server.url), deadline_s=0.3)
        with pytest.raises(Unavailable, match="upstream_timeout"):
            await backend.watch(route, Interest(), lambda _: None, began=lambda: None)


# Definitions that are not true any more.


class Moved:
    """A modern server whose tool has come to want another header than is known."""

    def __init__(self, listed: str = "Region") -> None:
        self.listed = listed
        self.calls = 0

    async def script(self, request: Request, peer: Peer) -> None:
        if request.message["method"] == "tools/list":
            region = {"type": "string", "x-mcp-header": self.listed}
            schema = {"type": "object", "properties": {"where": {"type": "object", "properties": {"region": region}}}}
            tools = [{"name": "echo", "inputSchema": schema}] if request.message["params"].get("cursor") else []  # type: ignore[attr-defined]
            page: dict[str, object] = {"tools": tools} if tools else {"tools": [], "nextCursor": "more"}
            await peer.json(msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "result": page}))
            return
        self.calls += 1
        if request.headers.get("mcp-param-region") == "north":
            await peer.json(result(request))
        else:
            error = {"code": -32020, "message": "header mismatch"}
            body = msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "error": error})
            await peer.json(body, status="400 Bad Request")


async def test_a_mismatch_of_headers_is_told_and_the_call_made_once_more_as_the_tool_is_listed() -> None:
    stale: list[tuple[str, str]] = []
    backend = HttpBackend(stale=lambda *which: stale.append(which))
    moved = Moved()
    try:
        async with scripted(moved.script) as server:
            route = route_to(over_http(server.url))
            raw = await backend.call(route, Outgoing(arguments=b'{"where":{"region":"north"}}'), lambda _: None)
            assert b"ok" in raw.result
            assert (moved.calls, stale) == (2, [("acme", "upstream")])
            # What was found is remembered for a moment, and the list not asked for again.
            await backend.call(route, Outgoing(arguments=b'{"where":{"region":"north"}}'), lambda _: None)
            assert (moved.calls, len(stale), len(server.messages("tools/list"))) == (4, 1, 2)
            # Listed as it is known: another attempt would be refused as well.
            moved.listed = "Zone"
            known = ((b"Mcp-Param-Zone", b"north"),)
            raw = await backend.call(
                route_to(over_http(server.url), server="other", header_params=known),
                Outgoing(arguments=b'{"where":{"region":"north"}}'),
                lambda _: None,
            )
            assert b"-32020" in raw.error
            assert moved.calls == 5
    finally:
        await backend.close()


async def test_a_request_besides_tools_call_says_what_it_is_about_in_its_headers(backend: HttpBackend) -> None:
    async def modern(request: Request, peer: Peer) -> None:
        await peer.json(result(request))

    async with scripted(modern) as server:
        for method, about, header in (
            ("prompts/get", "hi", "hi"),
            ("resources/read", "a://ü", "=?base64?YTovL8O8?="),
            ("tasks/get", "t-1", "t-1"),
            ("completion/complete", "", None),
        ):
            sent = Outgoing(arguments=b"{}", method=method, members=b'"x":1,', wants_progress=True, log_level="info")
            raw = await backend.call(route_to(over_http(server.url), about), sent, lambda _: None)
            assert raw.result
            request = server.requests[-1]
            assert (request.headers["mcp-method"], request.headers.get("mcp-name")) == (method, header)
            params: Any = request.message["params"]
            assert params["x"] == 1
            assert params["_meta"]["io.modelcontextprotocol/logLevel"] == "info"
            assert params["_meta"]["progressToken"] == request.id
        assert await call(backend, server, ECHO, era="modern")


# What a server says beside the call's own stream.


class Beside:
    """A legacy server that asks on the stream its client opened by GET, as many do; a call answers with the reply."""

    def __init__(self) -> None:
        self.legacy = Legacy(self._call)
        self.streams: dict[str, Peer] = {}
        self.opened = 0
        self.waiting: list[tuple[Request, Peer]] = []

    async def _call(self, request: Request, peer: Peer) -> None:
        session = request.headers["mcp-session-id"]
        if request.verb == "GET":
            self.opened += 1
            await peer.start_stream()
            self.streams[session] = peer
            await peer.until_gone()
            return
        if request.message["params"]["name"] == "waits":  # type: ignore[index]
            self.waiting.append((request, peer))
            await peer.until_gone()
            return
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "beside"}}
        await self.streams[session].chunk(event(msgspec.json.encode(note)))
        await self.streams[session].chunk(event(asking("q")))
        reply = await self.legacy.hears("")
        await peer.json(result(request, msgspec.json.encode(reply).decode()))


async def test_a_question_beside_the_calls_own_stream_is_answered_too(backend: HttpBackend) -> None:
    beside = Beside()
    notes: list[Notification] = []
    async with scripted(beside.legacy.script) as server:
        route = route_to(over_http(server.url), era="legacy")
        for _ in range(3):
            outgoing = msgspec.structs.replace(ROOTS, log_level="info")
            raw = await backend.call(route, outgoing, notes.append, answered)
            assert b"roots" in raw.result
        assert beside.opened == 1
        assert [note.method for note in notes] == ["notifications/message"] * 3


async def test_a_question_beside_calls_of_two_callers_is_refused(backend: HttpBackend) -> None:
    beside = Beside()
    async with scripted(beside.legacy.script) as server:
        bob = asyncio.ensure_future(
            call(backend, server, msgspec.structs.replace(ROOTS, principal=b"bob"), answered, tool="waits")
        )
        async with asyncio.timeout(5):
            while not beside.waiting:
                await asyncio.sleep(0.005)
        assert b"-32603" in await call(backend, server, ask=answered)
        bob.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bob


async def test_a_server_without_a_stream_beside_is_called_all_the_same(backend: HttpBackend) -> None:
    async def no_get(request: Request, peer: Peer) -> None:
        if request.verb == "GET":
            await peer.json(b"", status="405 Method Not Allowed")
        else:
            await peer.json(result(request))

    async with scripted(Legacy(no_get).script) as server:
        assert b"ok" in await call(backend, server, ask=answered)


async def test_a_version_refused_and_named_as_served_is_offered_once_more(backend: HttpBackend) -> None:
    async def contradicts(request: Request, peer: Peer) -> None:
        if len(server.requests) == 1:
            error = {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"], "requested": "2026-07-28"}}
            body = {"jsonrpc": "2.0", "id": request.id, "error": error}
            await peer.json(msgspec.json.encode(body), status="400 Bad Request")
        else:
            found = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
            await peer.json(msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "result": found}))

    async with scripted(contradicts) as server:
        greeting = await backend.greet(route_to(over_http(server.url), era=None))
        assert greeting.era == "modern"
