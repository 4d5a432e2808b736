"""Upstreams that are late, wrong, endless or half-closed: one error of their own tools, within the deadline."""

import asyncio

import pytest

from core.call import Notification, Outgoing, Raw, Route
from core.errors import Reason, Unavailable
from data_plane.upstreams.mcp_http import HttpBackend
from tests.harness.timing import beside
from tests.harness.upstream_raw import Peer, Request, Script, event, result, scripted
from tests.harness.upstream_route import ECHO, over_http, route_to

PUBLIC = {
    Reason.UPSTREAM_UNAVAILABLE: "the tool's server is not available",
    Reason.UPSTREAM_TOO_LARGE: "the tool's answer is too large",
    Reason.UPSTREAM_TIMEOUT: "the tool's server did not answer in time",
}


async def refused(backend: HttpBackend, route: Route) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await backend.call(route, ECHO, lambda _: None)
    assert caught.value.public == PUBLIC[caught.value.reason]
    return caught.value


def says(body: bytes, status: str = "200 OK", kind: str = "application/json", headers: str = "") -> Script:
    async def script(_: Request, peer: Peer) -> None:
        await peer.json(body, status=status, kind=kind, headers=headers)

    return script


def writes(data: bytes, *, close: bool = True) -> Script:
    async def script(_: Request, peer: Peer) -> None:
        await peer.send(data)
        if close:
            peer.close()

    return script


OK = b'{"jsonrpc":"2.0","id":%s,"result":{}}'
BROKEN: dict[str, tuple[Script, str]] = {
    "closes without a word": (writes(b""), "closed the connection"),
    "is not HTTP": (writes(b"SSH-2.0-OpenSSH_9.6\r\n"), "not HTTP/1.1"),
    "closes in the head": (writes(b"HTTP/1.1 200 OK\r\nContent-Le"), "closed the connection"),
    "closes half-way": (writes(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"), "closed the connection"),
    "breaks its chunks": (writes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "not HTTP/1.1"),
    "has an endless head": (writes(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n"), "head is too large"),
    "has one huge header": (writes(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"), "head is too large"),
    "switches protocols": (
        writes(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        "",
    ),
    "sends garbage": (says(b"\x00\xff garbage"), "no JSON-RPC message"),
    "sends bad UTF-8": (says(b'{"jsonrpc":"2.0","id":1,"result":{"a":"\xff"}}'), "no JSON-RPC message"),
    "nests without end": (says(OK[:-3] % b"1" + b'{"a":' * 2000 + b"1" + b"}" * 2001), "nested too deep"),
    "sends an array": (says(b"[]"), "no JSON-RPC message"),
    "sends another id": (says(OK % b"77"), "another request"),
    "sends the id as text": (says(OK % b'"1"'), "another request"),
    "sends no id": (says(b'{"jsonrpc":"2.0","result":{}}'), "another request"),
    "sends neither": (says(b'{"jsonrpc":"2.0","id":1}'), "no JSON-RPC response"),
    "sends both": (says(b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}'), "either"),
    "sends a bare result": (says(b'{"jsonrpc":"2.0","id":1,"result":"text"}'), "either"),
    "sends an error without a code": (says(b'{"jsonrpc":"2.0","id":1,"error":{"message":"x"}}'), "without a code"),
    "sends a page": (says(b"<html>Bad gateway</html>", "502 Bad Gateway", "text/html"), "HTTP 502"),
    "sends nothing": (says(b""), "no JSON-RPC message"),
    "accepts and says no more": (says(b"", "202 Accepted"), "HTTP 202"),
    "wants credentials": (says(b"{}", "401 Unauthorized"), "refuses the gateway's credentials: HTTP 401"),
    "forbids": (says(b"{}", "403 Forbidden"), "refuses the gateway's credentials: HTTP 403"),
    "redirects": (says(b"", "307 Temporary Redirect", headers="Location: http://169.254.169.254/\r\n"), "redirects"),
    "compresses unasked": (says(b"\x1f\x8b", headers="Content-Encoding: gzip\r\n"), "content encoding"),
    "fails without an id": (
        says(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"secret path"}}', "500 Oops"),
        "another request",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_an_upstream_that(what: str, era: str, backend: HttpBackend) -> None:
    script, detail = BROKEN[what]
    async with scripted(script) as server:
        failure = await refused(backend, route_to(over_http(server.url), era=era))  # type: ignore[arg-type]
    assert failure.reason is Reason.UPSTREAM_UNAVAILABLE
    assert detail in failure.detail
    assert "secret" not in failure.public


async def streams(peer: Peer, *chunks: bytes) -> None:
    await peer.start_stream()
    for chunk in chunks:
        await peer.chunk(chunk)


def stream(*chunks: bytes, end: bool = True) -> Script:
    async def script(_: Request, peer: Peer) -> None:
        await streams(peer, *chunks)
        if end:
            await peer.end_stream()
        else:
            peer.close()

    return script


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        (stream(b'data: {"jsonrpc":"2.0","id":1,"res', end=False), "stream ended before"),
        (stream(b": just a comment\n\n"), "stream ended before"),
        (stream(event(b"no json")), "no JSON-RPC message"),
        (stream(event(OK % b"99")), "another request"),
        (stream(event(b'{"jsonrpc":"2.0","id":1,"result":[]}')), "either"),
    ],
)
async def test_a_broken_stream_is_an_error_of_that_call(script: Script, detail: str, backend: HttpBackend) -> None:
    async with scripted(script) as server:
        failure = await refused(backend, route_to(over_http(server.url)))
    assert failure.reason is Reason.UPSTREAM_UNAVAILABLE
    assert detail in failure.detail


async def dribble(_: Request, peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        await peer.send(b" ")
        await asyncio.sleep(0.01)


async def progress_for_ever(request: Request, peer: Peer) -> None:
    await peer.start_stream()
    for step in range(1_000_000):
        note = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%d,"progress":%d}}'
        await peer.chunk(event(note % (request.id, step)))
        await asyncio.sleep(0.01)


async def silence(_: Request, peer: Peer) -> None:
    await peer.until_gone()


@pytest.mark.parametrize("script", [silence, dribble, progress_for_ever])
async def test_the_deadline_is_hard_whatever_keeps_coming(script: Script, backend: HttpBackend) -> None:
    async with scripted(script) as server:
        route = route_to(over_http(server.url), deadline_s=0.3)
        async with beside(0.3) as timer:
            failure = await refused(backend, route)
    assert failure.reason is Reason.UPSTREAM_TIMEOUT
    assert -0.01 <= timer.behind_s <= 0.1


async def test_closing_the_stream_is_what_cancels_a_modern_call(backend: HttpBackend) -> None:
    here, gone = asyncio.Event(), asyncio.Event()

    async def script(_: Request, peer: Peer) -> None:
        here.set()
        await peer.until_gone()
        gone.set()

    async with scripted(script) as server:
        call = asyncio.ensure_future(backend.call(route_to(over_http(server.url)), ECHO, lambda _: None))
        async with asyncio.timeout(20):
            await here.wait()
            call.cancel()
            await gone.wait()
        assert [r.message.get("method") for r in server.requests] == ["tools/call"]
    with pytest.raises(asyncio.CancelledError):
        await call


def endless(head: bytes, piece: bytes) -> Script:
    async def script(_: Request, peer: Peer) -> None:
        sent = 0
        try:
            await peer.send(head)
            while sent < 100 * 1024 * 1024:
                await peer.send(piece)
                sent += len(piece)
        finally:
            # What the kernel and the two ends buffer, and nothing near the whole.
            assert sent < 32 * 1024 * 1024

    return script


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


@pytest.mark.parametrize(
    "script",
    [
        endless(PLAIN + b"\r\n", b"x" * 65536),
        endless(PLAIN + b"Content-Length: 104857600\r\n\r\n", b"x" * 65536),
        endless(EVENTS + b"\r\ndata: ", b"x" * 65536),
        endless(EVENTS + b"\r\n", b": comment\n\n" * 6000),
        endless(EVENTS + b"\r\n", b"data: x\n" * 8000),
    ],
)
async def test_a_hundred_mebibytes_are_refused_long_before_they_are_read(script: Script, backend: HttpBackend) -> None:
    async with scripted(script) as server:
        failure = await refused(backend, route_to(over_http(server.url), max_result_bytes=1024 * 1024))
    assert failure.reason is Reason.UPSTREAM_TOO_LARGE


async def answered(backend: HttpBackend, script: Script, outgoing: Outgoing = ECHO) -> tuple[Raw, list[Notification]]:
    notes: list[Notification] = []
    async with scripted(script) as server:
        return await backend.call(route_to(over_http(server.url)), outgoing, notes.append), notes


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "404 Not Found", "500 Oops"])
async def test_an_error_that_names_the_request_is_relayed_whatever_its_status(
    status: str, backend: HttpBackend
) -> None:
    error = b'{"code":-32602, "message":"no such tool", "data":{"a":[1, 2]}}'
    raw, _ = await answered(backend, says(b'{"jsonrpc":"2.0","id":1,"error":' + error + b"}", status))
    assert raw.error == error
    assert raw.result == b""


async def test_a_result_is_relayed_byte_for_byte(backend: HttpBackend) -> None:
    result = b'{ "content" : [ ],\t"x-vendor": 1.0e2, "resultType":"complete"}'
    raw, _ = await answered(backend, says(b'{"result": ' + result + b' , "id":1, "jsonrpc":"2.0"}'))
    assert raw.result == result


async def test_events_cut_at_every_byte_and_crlf_make_the_same_answer(backend: HttpBackend) -> None:
    async def script(request: Request, peer: Peer) -> None:
        await peer.start_stream()
        for byte in b"\xef\xbb\xbf" + event(result(request, "söme text"), end=b"\r\n"):
            await peer.chunk(bytes([byte]))
        await peer.end_stream()

    raw, _ = await answered(backend, script)
    assert "söme text".encode() in raw.result


async def test_progress_of_another_token_or_going_backwards_is_dropped(backend: HttpBackend) -> None:
    async def script(request: Request, peer: Peer) -> None:
        await peer.start_stream()
        note = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%b,"progress":%d}}'
        for token, progress in ((b"%d" % request.id, 1), (b'"x"', 2), (b"77", 3), (b"%d" % request.id, 1)):
            await peer.chunk(event(note % (token, progress)))
        await peer.chunk(event(result(request)))
        await peer.end_stream()

    _, notes = await answered(backend, script, Outgoing(arguments=b"{}", wants_progress=True))
    assert notes == [Notification("notifications/progress", b'{"progress":1}')]


async def test_log_messages_below_the_level_asked_for_are_dropped(backend: HttpBackend) -> None:
    async def script(request: Request, peer: Peer) -> None:
        await peer.start_stream()
        for level in (b"debug", b"warning", b"nonsense"):
            note = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"%b","data":1}}' % level
            await peer.chunk(event(note))
        await peer.chunk(event(result(request)))
        await peer.end_stream()

    _, notes = await answered(backend, script, Outgoing(arguments=b"{}", log_level="info"))
    assert notes == [Notification("notifications/message", b'{"level":"warning","data":1}')]


async def test_an_informational_answer_before_the_real_one_is_skipped(backend: HttpBackend) -> None:
    async def script(request: Request, peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await peer.json(result(request))

    raw, _ = await answered(backend, script)
    assert b"ok" in raw.result


async def test_an_answer_that_ends_with_the_connection_is_whole(backend: HttpBackend) -> None:
    async def script(request: Request, peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + result(request))
        peer.close()

    raw, _ = await answered(backend, script)
    assert b"ok" in raw.result
