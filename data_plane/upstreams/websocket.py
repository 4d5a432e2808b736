"""A WebSocket to an MCP server: one JSON-RPC message a text frame (RFC 6455, by wsproto; no extensions)."""

import asyncio
from typing import cast

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from core.call import Route
from data_plane.upstreams.address import Resolver
from data_plane.upstreams.connection import probe
from data_plane.upstreams.duplex import Duplex
from data_plane.upstreams.failure import clipped, overloaded, unavailable
from data_plane.upstreams.jsonrpc import NotMcpError
from data_plane.upstreams.remote import Place
from data_plane.upstreams.target import Target, dial, headers_of

SUBPROTOCOL = "mcp"
_UNREAD_BYTES = 16 * 1024 * 1024
"""A server that leaves more than this unread is stuck."""
_ENVELOPE_BYTES = 64 * 1024
_PING_S = 20.0
_SILENT_S = 50.0
_GOODBYE_S = 1.0
_INVALID, _TOO_BIG = 1007, 1009
_USER_AGENT = ((b"User-Agent", b"toolgate"),)


async def connect(
    place: Place, route: Route, resolver: Resolver, *, ping_s: float = _PING_S, silent_s: float = _SILENT_S
) -> "WebSocket":
    """An open one. `silent_s`: longest silence, in spite of a ping every `ping_s`. Raises Unavailable."""
    target = place.target
    sent = headers_of(_USER_AGENT, place.plain, route.headers)
    tls, private = await place.tls(), place.transport.allow_private
    socket = await dial(target, resolver, tls, private, lambda: WebSocket(target, sent, ping_s, silent_s))
    try:
        await socket.accepted
    except BaseException:
        socket.abort()
        raise
    return socket


class WebSocket(asyncio.Protocol):
    """A `Channel`: from the connection to its loss. `accepted` is set once messages may go; raises Unavailable."""

    def __init__(
        self,
        target: Target,
        headers: list[tuple[bytes, bytes]],
        ping_s: float = _PING_S,
        silent_s: float = _SILENT_S,
    ) -> None:
        self.duplex = Duplex(self._write)
        self._loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[None] = self._loop.create_future()
        self._target = target
        self._headers = headers
        self._ping_s = ping_s
        self._silent_s = silent_s
        self._wire = WSConnection(ConnectionType.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._parts: list[str] = []
        self._size = 0
        self._heard_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def unread_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    async def flushed(self) -> None:
        """Frames keep their order."""

    def close(self) -> None:
        """Say goodbye; the connection is gone a moment later at the latest."""
        self._lost("is not needed any more")
        if self._transport is not None and self._wire.state is ConnectionState.OPEN:
            self._send(CloseConnection(1000))
            self._loop.call_later(_GOODBYE_S, self.abort)
        else:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # asyncio's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        probe(transport.get_extra_info("socket"))
        path = self._target.path.decode("ascii")
        host = self._target.host_header.decode("ascii")
        self._send(Request(host, path, subprotocols=[SUBPROTOCOL], extra_headers=self._headers))
        self._timer = self._loop.call_later(self._ping_s, self._ping)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            self._wire.receive_data(data)
            for event in self._wire.events():
                if not self.duplex.down.is_set() or isinstance(event, CloseConnection):
                    self._happened(event)
        except RemoteProtocolError as failure:
            self._break(f"speaks no WebSocket: {failure}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._lost("closed the connection" if exc is None else f"connection: {exc}")

    # What happens.

    def _happened(self, event: Event) -> None:
        if isinstance(event, TextMessage):
            self._text(event.data, whole=event.message_finished)
        elif isinstance(event, BytesMessage):
            self._break("sends binary frames")
        elif isinstance(event, Ping):
            if self.unread_bytes > _UNREAD_BYTES:
                self._break("does not read what it asks for")
            else:
                self._send(event.response())
        elif isinstance(event, AcceptConnection):
            if not self.accepted.done():
                self.accepted.set_result(None)
        elif isinstance(event, RejectConnection):
            self._break(f"refuses a WebSocket: HTTP {event.status_code}")
        elif isinstance(event, CloseConnection):
            self._closed(event)

    def _text(self, part: str, *, whole: bool) -> None:
        self._size += len(part) if part.isascii() else len(part.encode())
        if self._size > self.duplex.max_bytes + _ENVELOPE_BYTES:
            self.duplex.overlong(None)
            self._break("sends a message beyond any cap", _TOO_BIG)
            return
        self._parts.append(part)
        if not whole:
            return
        message = "".join(self._parts)
        self._parts.clear()
        self._size = 0
        try:
            self.duplex.heard(message.encode())
        except NotMcpError as failure:
            self._break(str(failure), _INVALID)

    def _closed(self, event: CloseConnection) -> None:
        if self._wire.state is ConnectionState.REMOTE_CLOSING:
            self._send(event.response())
        self._lost(f"closed the connection: {event.code} {clipped(event.reason or '')}".rstrip())
        if self._transport is not None:
            self._transport.close()

    def _ping(self) -> None:
        """A connection may die without a word, and its silence be taken for thinking."""
        if self._loop.time() - self._heard_at > self._silent_s:
            self._break("has been silent for too long")
            return
        if self._wire.state is ConnectionState.OPEN:
            self._send(Ping())
        self._timer = self._loop.call_later(self._ping_s, self._ping)

    # What is said.

    def _write(self, message: bytes, request_id: int | None = None) -> None:
        if self.unread_bytes > _UNREAD_BYTES:
            if request_id is not None:
                raise overloaded("it does not read what it is sent")
            self._break("does not read what it is sent")
            return
        self._send(TextMessage(message.decode()))

    def _send(self, event: Event) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        try:
            self._transport.write(self._wire.send(event))
        except LocalProtocolError:
            return  # It is closing: whoever waits for an answer hears of that.

    def _break(self, why: str, code: int = 1002) -> None:
        self._lost(why)
        if self._wire.state is ConnectionState.OPEN:
            self._send(CloseConnection(code))
        if self._transport is not None:
            self._transport.close()
            self._loop.call_later(_GOODBYE_S, self.abort)

    def _lost(self, why: str) -> None:
        if not self.accepted.done():
            self.accepted.set_exception(unavailable(why))
            self.accepted.exception()  # Retrieved: it may be that nobody waits any more.
        self.duplex.fail(why)
