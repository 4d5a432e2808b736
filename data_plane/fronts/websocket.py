"""A conversation over WebSocket: one JSON-RPC message a text frame, subprotocol `mcp` (RFC 6455; no extensions).

The credential comes with the upgrade, as on any request. A browser's page cannot set headers there: it offers, beside
`mcp`, the subprotocol `bearer.<key in base64url>`, which is read and never chosen. URLs hold no credentials.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import h11
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from core.errors import Refused, Unavailable
from core.mcp import errors, headers
from core.mcp.errors import Rejected, WireError
from core.mcp.headers import Head
from data_plane.fronts import heads, page
from data_plane.fronts.address import Address
from data_plane.fronts.asgi import Header, Receive, Scope, Send, answer
from data_plane.fronts.bodies import SMALL, Bodies
from data_plane.fronts.party import Party
from data_plane.fronts.refusing import Instead
from data_plane.fronts.server import CONNECTION, Connection
from data_plane.fronts.talk import End, Talk
from data_plane.fronts.talks import Talks

SUBPROTOCOL: Final = "mcp"
SILENT_S: Final = 50.0
"""A client that answers no ping for so long is gone."""
GOODBYE_S: Final = 1.0
_INVALID, _NO_TEXT, _POLICY, _TOO_BIG, _BUSY = 1007, 1003, 1008, 1009, 1013
_CODES: Final[dict[End, tuple[int, str]]] = {
    "refused": (_POLICY, "the credential, or the session, is not valid here any more"),
    "slow": (_POLICY, "what was sent is not read"),
    "leaving": (1001, "the gateway is shutting down; connect again"),
}
_UPGRADE: tuple[Header, ...] = ((b"upgrade", b"websocket"), (b"connection", b"upgrade"))


class WebSockets:
    """Serves `.../ws`. One per worker."""

    def __init__(self, talks: Talks, bodies: Bodies) -> None:
        self._talks = talks
        self._bodies = bodies

    async def __call__(self, scope: Scope, _: Receive, send: Send, head: Head, place: Address) -> None:
        connection = scope.get(CONNECTION)
        if not isinstance(connection, Connection) or not connection.upgrading or scope["method"] != "GET":
            await _not_upgraded(scope, send, head, place)
            return
        if head.values.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in head.values:
            raise Rejected(400, 400, "an upgrade to WebSocket has no body")
        wire = WSConnection(ConnectionType.SERVER)
        request = _request(wire, scope)
        credential, possession = heads.credential(head, scope)
        party = Party(
            place=place,
            transport="websocket",
            credential=credential or headers.offered_key(request.subprotocols),
            possession=possession,
            origin=head.text(b"origin"),
            host=head.text(b"host"),
            client_address=heads.client_address(scope),
            shown=heads.certificate(scope),
        )
        try:
            talk = await self._talks.admit(party)
        except (Refused, Unavailable) as failure:
            error = errors.of_failure(failure, self._talks.connecting(party))
            more = (*heads.of_failure(failure, error), *heads.cors(party.origin, failure))
            await answer(send, max(error.status, 400), more, errors.body(errors.NULL, error))
            return
        try:
            socket = Socket(connection, wire, talk, self._bodies)
            socket.accept(SUBPROTOCOL if SUBPROTOCOL in request.subprotocols else None)
            await self._talks.attend(talk, socket)
            await socket.close()
        finally:
            self._talks.forget(talk)


class Socket:
    """A `Line`."""

    def __init__(self, connection: Connection, wire: WSConnection, talk: Talk, bodies: Bodies) -> None:
        self._connection = connection
        self._wire = wire
        self._talk = talk
        self._bodies = bodies
        self._loop = asyncio.get_running_loop()
        self._parts: list[str] = []
        self._size = self._counted = 0
        self._heard_at = self._loop.time()
        self._closing: tuple[int, str] | None = None
        self._gone = asyncio.Event()

    def accept(self, subprotocol: str | None) -> None:
        early = self._connection.take(self._received)
        self._connection.watch(self._lost)
        self._put(AcceptConnection(subprotocol=subprotocol))
        if self._connection.transport.is_closing():
            self._lost()
        if early:
            self._received(early)

    async def say(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            self._put(TextMessage(message.decode()))
        await self._connection.flow.drain()
        if self._connection.transport.is_closing():
            raise ConnectionResetError

    async def beat(self) -> None:
        if self._loop.time() - self._heard_at > SILENT_S:
            self._connection.transport.abort()
            raise ConnectionResetError
        self._put(Ping())

    async def close(self) -> None:
        """Says why, and waits a moment for the client to have heard it."""
        code, why = self._closing or _CODES.get(self._talk.end or "gone", (1000, ""))
        self._release()
        if self._talk.end == "slow":
            # It would not read this either.
            self._connection.transport.abort()
            return
        self._put(CloseConnection(code, why))
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._gone.wait()
        except TimeoutError:
            self._connection.transport.abort()
        else:
            self._connection.transport.close()

    def _received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        if self._wire.state is ConnectionState.CLOSED:
            return
        try:
            self._wire.receive_data(data)
            for event in self._wire.events():
                self._happened(event)
        except (RemoteProtocolError, LocalProtocolError):
            self._break(1002, "not WebSocket")

    def _happened(self, event: Event) -> None:
        if isinstance(event, CloseConnection):
            # Of the client, or wsproto's word for what broke a rule.
            if self._wire.state is ConnectionState.OPEN:
                self._break(int(event.code), event.reason or "not WebSocket")
                return
            if self._wire.state is ConnectionState.REMOTE_CLOSING:
                self._put(event.response())
            self._lost()
        elif isinstance(event, Ping):
            # A client that reads none of them needs no more.
            if not self._connection.flow.write_paused:
                self._put(event.response())
        elif self._closing is not None or self._talk.end is not None:
            return
        elif isinstance(event, TextMessage):
            self._text(event.data, whole=event.message_finished)
        elif isinstance(event, BytesMessage):
            self._break(_NO_TEXT, "send text frames")

    def _text(self, part: str, *, whole: bool) -> None:
        self._size += len(part) if part.isascii() else len(part.encode())
        if self._size > self._talk.max_bytes:
            self._break(_TOO_BIG, f"a message may have {self._talk.max_bytes} bytes")
            return
        if not whole:
            self._keep(part)
            return
        message = "".join((*self._parts, part)) if self._parts else part
        self._release()
        self._talk.heard(message.encode())

    def _keep(self, part: str) -> None:
        """Part of a message; large ones count against what may be on its way in at once."""
        if part:
            self._parts.append(part)
        if self._size > SMALL:
            if not self._bodies.take(self._size - self._counted):
                self._break(_BUSY, "the gateway is busy with large messages; try again")
                return
            self._counted = self._size

    def _release(self) -> None:
        self._bodies.give_back(self._counted)
        self._parts, self._size, self._counted = [], 0, 0

    def _break(self, code: int, why: str) -> None:
        """What the client does is answered by closing; what it asked for is cancelled."""
        if self._closing is None:
            self._closing = (code, why[:100])
            self._talk.lost()

    def _lost(self) -> None:
        self._gone.set()
        self._talk.lost()

    def _put(self, event: Event) -> None:
        transport = self._connection.transport
        if transport.is_closing():
            return
        try:
            transport.write(self._wire.send(event))
        except LocalProtocolError:
            return  # It is closing.


async def _not_upgraded(scope: Scope, send: Send, head: Head, place: Address) -> None:
    if page.wanted(scope, head):
        await page.show(scope, send, head, place)
        return
    error = WireError(426, 426, "this is a WebSocket: ask for an upgrade to it")
    raise Instead(426, (*heads.WHOLE, *_UPGRADE), errors.body(errors.NULL, error))


def _request(wire: WSConnection, scope: Scope) -> Request:
    """The client's opening handshake, from the request that was parsed already. Raises Rejected."""
    raw_path, query = scope["raw_path"], scope["query_string"]
    assert isinstance(raw_path, bytes)
    assert isinstance(query, bytes)
    kept = [(name, value) for name, value in heads.raw(scope) if name not in (b"upgrade", b"connection")]
    try:
        wire.initiate_upgrade_connection([*kept, *_UPGRADE], raw_path + (b"?" + query if query else b""))
        for event in wire.events():
            if isinstance(event, Request):
                return event
    except (RemoteProtocolError, LocalProtocolError, h11.ProtocolError, ValueError) as failure:
        raise Rejected(400, 400, f"not a WebSocket's opening handshake: {failure}") from failure
    raise Rejected(400, 400, "not a WebSocket's opening handshake")
