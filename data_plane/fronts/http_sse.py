"""HTTP+SSE, of revision 2024-11-05: all a client is told comes on one stream, and what it says is POSTed beside it.

The stream is in the worker that accepted it; a POST may come to any worker of any node, and is handed over by the bus.
Whoever POSTs proves that it has the credential the stream was opened with: knowing a stream's id is not enough.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Final
from urllib.parse import parse_qs

import msgspec

from core.bound import Bound
from core.bus import Bus, BusAway
from core.call import Inbound
from core.errors import Reason, Refused, Unavailable
from core.mcp import errors, headers, jsonrpc, sse
from core.mcp.errors import INVALID_REQUEST, Rejected
from core.mcp.headers import Head
from data_plane.fronts import heads, page
from data_plane.fronts.address import Address
from data_plane.fronts.asgi import NOSNIFF, Header, Receive, Scope, Send, answer, chunk, start
from data_plane.fronts.bodies import Bodies
from data_plane.fronts.exchange import SSE
from data_plane.fronts.party import Party
from data_plane.fronts.refusing import Instead
from data_plane.fronts.server import CONNECTION, Connection
from data_plane.fronts.talk import Talk
from data_plane.fronts.talks import Talks

ACCEPTED_WITHIN_S: Final = 2.0
"""A worker that has not taken a message by then is gone, or never had the stream."""
MAX_FORWARDED: Final = 4096
"""Messages on their way to other workers at once."""
_MAX_ID: Final = 128
_PLAIN: tuple[Header, ...] = ((b"content-type", b"text/plain; charset=utf-8"), NOSNIFF)
_GET: Header = (b"allow", b"GET, OPTIONS")
_POST: Header = (b"allow", b"POST, OPTIONS")


class _Forwarded(msgspec.Struct, frozen=True, array_like=True):
    """A client's message on its way to the worker that has its stream."""

    stream: str
    prefix: str
    """Of the path it was POSTed to."""
    body: bytes
    origin: str
    host: str
    client_address: str
    back: str
    """Topic of the acknowledgement."""
    serial: int


class _Parcel(msgspec.Struct, frozen=True, array_like=True):
    content: bytes
    """A _Forwarded."""
    proof: bytes
    """Of the content, by the credential."""


class _Accepted(msgspec.Struct, frozen=True, array_like=True):
    serial: int
    taken: bool


Knock = Callable[[Inbound], Awaitable[object]]
"""Whether whoever sends this may be here: what is POSTed is only handed on for those. Raises Refused, Unavailable."""

_encode = msgspec.msgpack.Encoder().encode
_parcel = msgspec.msgpack.Decoder(_Parcel)
_forwarded = msgspec.msgpack.Decoder(_Forwarded)
_accepted = msgspec.msgpack.Decoder(_Accepted)


class HttpSse:
    """Serves `.../sse` and `.../messages`. One per worker. `listen` before use."""

    def __init__(self, talks: Talks, knock: Knock, bodies: Bodies, bus: Bus) -> None:
        self._talks = talks
        self._knock = knock
        self._bodies = bodies
        self._bus = bus
        self._worker = os.urandom(16).hex()
        self._open: dict[str, Talk] = {}
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._serial = self._refused = 0

    def bounds(self) -> dict[str, Bound]:
        return {"messages_forwarded": Bound(len(self._waiting), MAX_FORWARDED, self._refused)}

    async def listen(self) -> None:
        """Hear of messages for this worker's streams. Raises BusAway."""
        await self._bus.subscribe(_topic(self._worker), self._arrived)
        await self._bus.subscribe(_back(self._worker), self._acknowledged)

    async def close(self) -> None:
        for errand in list(self._errands):
            errand.cancel()
        if self._errands:
            await asyncio.wait(set(self._errands))

    # === the stream ===

    async def stream(self, scope: Scope, _: Receive, send: Send, head: Head, place: Address) -> None:
        connection = scope.get(CONNECTION)
        if page.wanted(scope, head):
            await page.show(scope, send, head, place)
            return
        if scope["method"] != "GET" or not isinstance(connection, Connection):
            # By this answer a client that tries Streamable HTTP first learns that it has to GET.
            raise Instead(405, (*_PLAIN, _GET), b"GET an event stream here; POST where its first event says\n")
        if not headers.accepts(head.values.get(b"accept", b"*/*"))[1]:
            raise Rejected(406, INVALID_REQUEST, "Accept must list text/event-stream")
        party = _party(scope, head, place)
        try:
            talk = await self._talks.admit(party)
        except (Refused, Unavailable) as failure:
            await self._refuse(send, party, failure)
            return
        await self._attend(talk, connection, send)

    async def _attend(self, talk: Talk, connection: Connection, send: Send) -> None:
        id_ = f"{self._worker}.{os.urandom(16).hex()}"
        where = f"{talk.party.place.prefix}/messages?session={id_}"
        self._open[id_] = talk
        unwatch = connection.watch(talk.lost)
        try:
            await send(start(200, (*SSE, *heads.cors(talk.party.origin))))
            await send(chunk(b"event: endpoint\ndata: %b\n\n" % where.encode(), more=True))
            await self._talks.attend(talk, _Events(send, connection))
        finally:
            unwatch()
            del self._open[id_]
            self._talks.forget(talk)
        if talk.end == "slow":
            connection.give_up()
            return
        await send(chunk(b"", more=False))

    # === what is POSTed beside it ===

    async def message(self, scope: Scope, receive: Receive, send: Send, head: Head, place: Address) -> None:
        if scope["method"] != "POST":
            raise Instead(405, (*_PLAIN, _POST), b"POST a message of an event stream's client here\n")
        if not headers.is_json(head.values.get(b"content-type", b"")):
            raise Rejected(400, INVALID_REQUEST, "Content-Type must be application/json")
        party = _party(scope, head, place)
        try:
            await self._knock(self._talks.connecting(party))
        except (Refused, Unavailable) as failure:
            await self._refuse(send, party, failure)
            return
        body = await self._bodies.read(scope, receive, head)
        if body is None:
            return
        for one in jsonrpc.batch(body) or (body,):
            jsonrpc.read(one)
        if not await self._hand_over(_session(scope), body, party):
            await self._refuse(send, party, Refused(Reason.NOT_FOUND, errors.NOTHING_HERE))
            return
        await answer(send, 202, (*_PLAIN, *heads.cors(party.origin)), b"Accepted")

    async def _refuse(self, send: Send, party: Party, failure: Refused | Unavailable) -> None:
        error = errors.of_failure(failure, self._talks.connecting(party))
        more = (*heads.of_failure(failure, error), *heads.cors(party.origin, failure))
        await answer(send, max(error.status, 400), more, errors.body(errors.NULL, error))

    async def _hand_over(self, id_: str, body: bytes, party: Party) -> bool:
        """Whether the stream is there, and the party's. Raises Rejected where that cannot be found out now."""
        worker = id_.partition(".")[0]
        if not id_ or len(id_) > _MAX_ID or not (worker.isascii() and worker.isalnum()):
            return False
        self._serial += 1
        sent = _Forwarded(
            stream=id_,
            prefix=party.place.prefix,
            body=body,
            origin=party.origin,
            host=party.host,
            client_address=party.client_address,
            back=_back(self._worker),
            serial=self._serial,
        )
        if worker == self._worker:
            return self._take(sent, lambda credential: compare_digest(credential, party.evidence))
        if len(self._waiting) >= MAX_FORWARDED:
            self._refused += 1
            raise Rejected(503, 503, "the gateway is busy with other messages; try again")
        return await self._forward(worker, sent, party.evidence)

    async def _forward(self, worker: str, sent: _Forwarded, credential: bytes) -> bool:
        content = _encode(sent)
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[sent.serial] = taken
        try:
            async with asyncio.timeout(ACCEPTED_WITHIN_S):
                await self._bus.publish(_topic(worker), _encode(_Parcel(content, _proof(credential, content))))
                return await taken
        except TimeoutError:
            return False
        except BusAway as away:
            raise Rejected(503, 503, "the stream's worker cannot be reached now; try again") from away
        finally:
            del self._waiting[sent.serial]

    def _take(self, sent: _Forwarded, proven: Callable[[bytes], bool]) -> bool:
        """`proven`: whether whoever POSTed has this credential, which is the stream's."""
        talk = self._open.get(sent.stream)
        if talk is None or talk.end is not None:
            return False
        own = talk.party
        if not proven(own.evidence) or sent.prefix != own.place.prefix:
            return False
        party = msgspec.structs.replace(own, origin=sent.origin, host=sent.host, client_address=sent.client_address)
        talk.heard(sent.body, party)
        return True

    # === between workers ===

    def _arrived(self, message: bytes) -> None:
        try:
            parcel = _parcel.decode(message)
            sent = _forwarded.decode(parcel.content)
        except msgspec.MsgspecError:
            return
        taken = self._take(sent, lambda credential: compare_digest(_proof(credential, parcel.content), parcel.proof))
        if len(self._errands) < MAX_FORWARDED:
            errand = asyncio.get_running_loop().create_task(self._acknowledge(sent, taken=taken))
            self._errands.add(errand)
            errand.add_done_callback(self._errands.discard)

    async def _acknowledge(self, sent: _Forwarded, *, taken: bool) -> None:
        with contextlib.suppress(BusAway):
            await self._bus.publish(sent.back, _encode(_Accepted(sent.serial, taken)))

    def _acknowledged(self, message: bytes) -> None:
        try:
            accepted = _accepted.decode(message)
        except msgspec.MsgspecError:
            return
        waiting = self._waiting.get(accepted.serial)
        if waiting is not None and not waiting.done():
            waiting.set_result(accepted.taken)


class _Events:
    """A `Line`."""

    def __init__(self, send: Send, connection: Connection) -> None:
        self._send = send
        self._connection = connection

    async def say(self, messages: Sequence[bytes]) -> None:
        await self._send(chunk(b"".join(map(sse.event, messages)), more=True))
        await self._connection.flow.drain()
        if self._connection.transport.is_closing():
            raise ConnectionResetError

    async def beat(self) -> None:
        await self._send(chunk(sse.PING, more=True))


def _party(scope: Scope, head: Head, place: Address) -> Party:
    credential, possession = heads.credential(head, scope)
    return Party(
        place=place,
        transport="sse",
        credential=credential,
        possession=possession,
        origin=head.text(b"origin"),
        host=head.text(b"host"),
        client_address=heads.client_address(scope),
        shown=heads.certificate(scope),
    )


def _session(scope: Scope) -> str:
    query = scope["query_string"]
    assert isinstance(query, bytes)
    return parse_qs(query.decode("latin-1")).get("session", [""])[0]


def _proof(credential: bytes, content: bytes) -> bytes:
    return blake2b(content, key=blake2b(credential).digest(), digest_size=32).digest()


def _topic(worker: str) -> str:
    return f"sse/{worker}"


def _back(worker: str) -> str:
    return f"sse-taken/{worker}"
