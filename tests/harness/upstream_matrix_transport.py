"""Serves an SDK server over Streamable HTTP, HTTP+SSE, WebSocket or stdio, in one era or in both."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import uvicorn
from mcp.server.lowlevel.server import Server
from mcp.server.runner import modern_on_request, serve_loop
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

Era = Literal["legacy", "modern", "both"]
Transport = Literal["http", "sse", "websocket", "stdio"]
PATHS: dict[str, str] = {"http": "/mcp", "sse": "/sse", "websocket": "/ws"}
LOOPBACK = TransportSecuritySettings(
    enable_dns_rebinding_protection=True,
    allowed_hosts=["127.0.0.1:*", "localhost:*"],
    allowed_origins=["http://127.0.0.1:*", "http://localhost:*"],
)
RETRY_MS = 200
"""How long a client waits before it reconnects to a stream closed on it."""


async def serve_streams(server: Server[Any], era: Era, read: Any, write: Any) -> None:
    """One connection that carries messages both ways, until it closes."""
    if era == "legacy":
        await serve_loop(server, read, write, lifespan_state={})
    elif era == "modern":
        await JSONRPCDispatcher(read, write).run(_modern(server), _ignore)  # type: ignore[arg-type]
    else:
        await server.run(read, write, server.create_initialization_options())


def _modern(server: Server[Any]) -> Any:
    handle = modern_on_request(server, {})

    async def on_request(dctx: Any, method: str, params: Any) -> dict[str, Any]:
        if method == "initialize":
            raise MCPError(-32022, "there is no handshake here", refused_version((params or {}).get("protocolVersion")))
        route = classify_inbound_request({"method": method, "params": params})
        if isinstance(route, InboundLadderRejection):
            raise MCPError(route.code, route.message, route.data)
        return await handle(dctx, method, params)

    return on_request


async def _ignore(*_: object) -> None:
    """Cancellations are the dispatcher's own work, and there is no other notification."""


def refused_version(requested: object) -> dict[str, object]:
    return {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": str(requested)}


def app(server: Server[Any], era: Era, transport: Transport) -> ASGIApp:
    """What uvicorn serves at PATHS[transport]."""
    if transport == "http":
        serving = server.streamable_http_app(
            event_store=Events(), retry_interval=RETRY_MS, transport_security=LOOPBACK, max_sessions=1000
        )
        return Trimmed(OneEra(serving, era))
    if transport == "sse":
        return _sse(server, era)
    return Starlette(routes=[WebSocketRoute(PATHS["websocket"], WebSocketEnd(server, era).serve)])


def _sse(server: Server[Any], era: Era) -> ASGIApp:
    messages = SseServerTransport("/messages/", security_settings=LOOPBACK)

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        async with messages.connect_sse(scope, receive, send) as (read, write):
            await serve_streams(server, era, read, write)

    routes = [Route(PATHS["sse"], RawEnd(stream)), Mount("/messages/", app=messages.handle_post_message)]
    return Starlette(routes=routes)


class RawEnd:
    """An ASGI application where Starlette would take a function for an endpoint of its own kind."""

    def __init__(self, serve: ASGIApp) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)


class WebSocketEnd:
    """One JSON-RPC message per text frame. The SDK has no such server of its own."""

    def __init__(self, server: Server[Any], era: Era) -> None:
        self._server = server
        self._era = era

    async def serve(self, socket: WebSocket) -> None:
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(subprotocol="mcp" if "mcp" in offered else None)
        incoming, read = anyio.create_memory_object_stream[Any](0)
        write, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive, socket, incoming)
            tasks.start_soon(self._send, socket, outgoing)
            await serve_streams(self._server, self._era, read, write)
            tasks.cancel_scope.cancel()

    async def _receive(self, socket: WebSocket, incoming: Any) -> None:
        async with incoming:
            with contextlib.suppress(WebSocketDisconnect, anyio.BrokenResourceError):
                while True:
                    frame = await socket.receive_text()
                    try:
                        await incoming.send(SessionMessage(jsonrpc_message_adapter.validate_json(frame, by_name=False)))
                    except ValueError as malformed:
                        await incoming.send(malformed)

    async def _send(self, socket: WebSocket, outgoing: Any) -> None:
        async with outgoing:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                async for message in outgoing:
                    await socket.send_text(message.message.model_dump_json(by_alias=True, exclude_unset=True))


class Trimmed:
    """Header values without the blanks around them, which httptools leaves on."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [(name, value.strip(b" \t")) for name, value in scope["headers"]]}
        await self._inner(scope, receive, send)


class OneEra:
    """Answers requests of the other era as a server does that never heard of it, or no longer knows it."""

    def __init__(self, inner: ASGIApp, era: Era) -> None:
        self._inner = inner
        self._era = era

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._era == "both":
            await self._inner(scope, receive, send)
            return
        version = dict(scope["headers"]).get(b"mcp-protocol-version", b"").decode("latin-1")
        if self._era == "legacy" and version and version not in HANDSHAKE_PROTOCOL_VERSIONS:
            known = ", ".join(HANDSHAKE_PROTOCOL_VERSIONS)
            refusal = {"code": -32600, "message": f"Unsupported protocol version: {version}; there are {known}"}
            await _answer(send, 400, {"jsonrpc": "2.0", "id": None, "error": refusal})
        elif self._era == "modern" and version in ("", *HANDSHAKE_PROTOCOL_VERSIONS):
            await self._refuse_legacy(scope, receive, send, version)
        else:
            await self._inner(scope, receive, send)

    async def _refuse_legacy(self, scope: Scope, receive: Receive, send: Send, version: str) -> None:
        if scope["method"] != "POST":
            await _answer(send, 405, {})
            return
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        try:
            message = json.loads(body)
            requested = message.get("params", {}).get("protocolVersion", version)
            reply_to = message.get("id")
        except (ValueError, AttributeError):
            requested, reply_to = version, None
        refusal = {"code": -32022, "message": "Unsupported protocol version", "data": refused_version(requested)}
        await _answer(send, 400, {"jsonrpc": "2.0", "id": reply_to, "error": refusal})


async def _answer(send: Send, status: int, body: dict[str, object]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


class Events(EventStore):
    """Events of every stream in order, the last thousand."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, Any]] = []
        self._first = 0

    async def store_event(self, stream_id: str, message: Any) -> str:
        self._kept.append((stream_id, message))
        if len(self._kept) > 1000:
            self._kept.pop(0)
            self._first += 1
        return str(self._first + len(self._kept) - 1)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        last = int(last_event_id) - self._first if last_event_id.isdecimal() else -1
        if not 0 <= last < len(self._kept):
            return None
        stream = self._kept[last][0]
        for offset, (one, message) in enumerate(self._kept[last + 1 :], last + 1):
            if one == stream and message is not None:
                await send_callback(EventMessage(message, str(self._first + offset)))
        return stream


async def on_stdio(server: Server[Any], era: Era) -> None:
    async with stdio_server() as (read, write):
        await serve_streams(server, era, read, write)


@asynccontextmanager
async def listening(serving: ASGIApp, port: int = 0) -> AsyncIterator[int]:
    """The port it is served on, in this process."""
    # Named as TCP, or asyncio leaves TCP_NODELAY off and every answer in two writes takes 40 ms.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    config = uvicorn.Config(serving, log_level="critical", timeout_graceful_shutdown=1, ws="wsproto")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    running = asyncio.ensure_future(server.serve(sockets=[sock]))
    try:
        async with asyncio.timeout(20):
            while not server.started:
                await asyncio.sleep(0.01)
        yield int(sock.getsockname()[1])
    finally:
        server.should_exit = True
        await running
        sock.close()
