"""`toolgate stdio` before servers that break off, forget and refuse: what it sends, and what its client is told."""

import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from tests.harness.certificates import Authority
from tests.harness.stdio_bridge import bridge
from tests.harness.upstream_raw import Peer, Request, result, scripted

SESSION = "s-1"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
"""An event stream that ends with its connection."""


def event(message: object, id_: str = "") -> bytes:
    return (f"id: {id_}\n" if id_ else "").encode() + b"data: " + msgspec.json.encode(message) + b"\n\n"


def note(method: str, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def respond(status: str, media: str, body: bytes, *more: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {media}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def say(peer: Peer, data: bytes, *, close: bool = False) -> None:
    peer.writer.write(data)
    await peer.writer.drain()
    if close:
        peer.writer.close()


def in_a_session(
    answer: Callable[[Request, Peer], Awaitable[None]],
) -> Callable[[Request, Peer], Awaitable[None]]:
    """Greets as a server of 2025-11-25; what else comes is the test's."""

    async def script(request: Request, peer: Peer) -> None:
        method = request.message.get("method") if request.body else ""
        if method == "initialize":
            hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "raw", "version": "1"}}
            body = msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "result": hello})
            await say(peer, respond("200 OK", "application/json", body, f"Mcp-Session-Id: {SESSION}"))
        elif method == "notifications/initialized":
            await say(peer, b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        elif request.verb == "DELETE":
            await say(peer, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        else:
            await answer(request, peer)

    return script


async def test_a_request_of_the_modern_era_carries_what_its_body_says() -> None:
    async def script(request: Request, peer: Peer) -> None:
        await say(peer, respond("200 OK", "application/json; charset=utf-8", result(request)))

    async with scripted(script) as server, bridge(server.url, "--key", "k1") as client:
        await client.call("größe", modern=True)
        (seen,) = server.requests
        assert seen.headers["authorization"] == "Bearer k1"
        assert seen.headers["mcp-protocol-version"] == "2026-07-28"
        assert seen.headers["mcp-method"] == "tools/call"
        assert seen.headers["mcp-name"] == "=?base64?Z3LDtsOfZQ==?="
        assert "mcp-session-id" not in seen.headers


async def test_a_session_is_kept_followed_and_ended() -> None:
    opened = 0

    async def answer(request: Request, peer: Peer) -> None:
        nonlocal opened
        assert request.headers["mcp-session-id"] == SESSION
        assert request.headers["mcp-protocol-version"] == "2025-11-25"
        assert request.verb == "GET"
        opened += 1
        if opened == 1:
            news = b"retry: 20\n" + event(note("notifications/tools/list_changed"), "e-1")
            await say(peer, SSE + news, close=True)
        elif opened == 2:
            assert request.headers["last-event-id"] == "e-1"
            await say(peer, SSE + event(note("notifications/prompts/list_changed"), "e-2"))
            await peer.until_gone()

    async with scripted(in_a_session(answer)) as server, bridge(server.url) as client:
        await client.hello()
        await client.until("notifications/tools/list_changed")
        await client.until("notifications/prompts/list_changed")
        assert (await client.close())[0] == 0
        assert server.requests[-1].verb == "DELETE"
        assert server.requests[-1].headers["mcp-session-id"] == SESSION


async def test_an_answer_that_broke_off_is_taken_up_where_it_was() -> None:
    async def answer(request: Request, peer: Peer) -> None:
        if request.verb == "POST":
            begun = event(note("notifications/progress", progressToken=1, progress=1), "c-1")
            await say(peer, SSE + b"retry: 10\n" + begun, close=True)
        elif request.headers.get("last-event-id") == "c-1":
            done = {"jsonrpc": "2.0", "id": 2, "result": {"content": [{"type": "text", "text": "whole"}]}}
            await say(peer, SSE + event(done, "c-2"))
        else:
            await say(peer, respond("405 Method Not Allowed", "text/plain", b""))

    async with scripted(in_a_session(answer)) as server, bridge(server.url) as client:
        await client.hello()
        answered = await client.call("anything", progressToken=1)
        assert answered["result"]["content"][0]["text"] == "whole"
        assert [one["method"] for one in client.seen if "method" in one] == ["notifications/progress"]


async def test_a_broken_answer_of_the_modern_era_is_an_error() -> None:
    async def script(_: Request, peer: Peer) -> None:
        await say(peer, SSE + event(note("notifications/progress", progressToken=1, progress=1)), close=True)

    async with scripted(script) as server, bridge(server.url) as client:
        assert (await client.call("anything", modern=True))["error"]["code"] == 502


async def test_a_listener_is_heard_again_and_told_that_all_may_have_changed() -> None:
    async def script(request: Request, peer: Peer) -> None:
        honoured = {"toolsListChanged": True, "resourceSubscriptions": ["x://y"]}
        tag = {"io.modelcontextprotocol/subscriptionId": request.id}
        began = event(note("notifications/subscriptions/acknowledged", notifications=honoured, _meta=tag))
        await say(peer, SSE + began, close=len(server.requests) == 1)
        if len(server.requests) > 1:
            await peer.until_gone()

    async with scripted(script) as server, bridge(server.url) as client:
        listen = await client.begin("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, modern=True)
        await client.until("notifications/subscriptions/acknowledged")
        told = await client.line()
        assert told["method"] == "notifications/tools/list_changed"
        assert told["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": listen}
        (first, second) = server.requests
        assert first.body == second.body


async def test_a_session_that_cannot_be_begun_again_yet_is_later() -> None:
    hellos = 0

    async def script(request: Request, peer: Peer) -> None:
        nonlocal hellos
        method = request.message.get("method") if request.body else ""
        if method == "initialize":
            hellos += 1
            if hellos == 2:
                await say(peer, respond("503 Service Unavailable", "text/plain", b"later"))
                return
            hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "raw", "version": "1"}}
            body = msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "result": hello})
            await say(peer, respond("200 OK", "application/json", body, f"Mcp-Session-Id: s-{hellos}"))
        elif request.verb != "POST" or method == "notifications/initialized":
            status = "202 Accepted" if request.verb == "POST" else "405 Method Not Allowed"
            await say(peer, respond(status, "text/plain", b""))
        elif request.headers.get("mcp-session-id") == "s-3":
            await say(peer, respond("200 OK", "application/json", result(request)))
        else:
            await say(peer, respond("404 Not Found", "text/plain", b""))

    async with scripted(script) as server, bridge(server.url) as client:
        await client.hello()
        assert "error" in await client.call("a")
        assert "result" in await client.call("a")
        assert hellos == 3


async def test_answers_without_an_id_and_pages_of_proxies_become_the_requests_own_errors() -> None:
    refusal = b'{"jsonrpc":"2.0","id":null,"error":{"code":401,"message":"no key"}}'
    answers = [
        respond("401 Unauthorized", "application/json", refusal),
        respond("502 Bad Gateway", "text/html", b"<html>oops</html>"),
    ]

    async def script(_: Request, peer: Peer) -> None:
        await say(peer, answers.pop(0))

    async with scripted(script) as server, bridge(server.url) as client:
        refused = await client.call("a", modern=True)
        assert refused["error"] == {"code": 401, "message": "no key"}
        assert (await client.call("b", modern=True))["error"]["code"] == 502


async def test_the_gateways_certificate_is_verified(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "ca"), Authority(tmp_path, "other")
    certificate, key = authority.issue("gateway")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def script(request: Request, peer: Peer) -> None:
        await say(peer, respond("200 OK", "application/json", result(request)))

    async with scripted(script, ssl=context) as server:
        async with bridge(server.url, "--ca-file", str(authority.file)) as client:
            assert "result" in await client.call("a", modern=True)
        async with bridge(server.url, "--ca-file", str(other.file)) as client:
            failed = (await client.call("a", modern=True))["error"]
            assert failed["code"] == 503
            assert "certificate" in json.dumps(failed)
            assert not server.requests[1:]
