"""Readers of connections, fed by hand: real protocol objects on a transport that leads nowhere, on their own loop."""

import asyncio
import base64
import hashlib
import socket
import time
from collections.abc import Coroutine, Iterator, Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, TypeVar

from uvicorn.server import ServerState

from adapters.memory.bus import MemoryBus, MemoryCache, MemoryEvents
from core.bound import Hits
from core.call import Inbound, Notification, Opening, Outgoing, Question, Raw, Reply, Result, Route
from core.errors import Reason, Refused, Unavailable
from core.mcp import jsonrpc, results
from core.mcp.revisions import LEGACY
from core.server import HttpTransport
from core.snapshot import Backend
from data_plane.fronts.address import Address
from data_plane.fronts.bodies import Bodies
from data_plane.fronts.others import Others
from data_plane.fronts.party import Party
from data_plane.fronts.server import Connection as Front
from data_plane.fronts.server import configuration
from data_plane.fronts.server_options import ServerOptions
from data_plane.fronts.shared import Shared
from data_plane.fronts.streamable_http import Front as Application
from data_plane.fronts.streamable_http import FrontOptions
from data_plane.fronts.talk import Talk
from data_plane.listeners import Listeners, Sight
from data_plane.outbox import Outbox
from data_plane.sessions import SessionNotes
from data_plane.streams import Streams
from data_plane.upstreams.answer import Answer, Outcome
from data_plane.upstreams.connection import Connection, ExchangeError
from data_plane.upstreams.duplex import Duplex
from data_plane.upstreams.greeting import Greeting
from data_plane.upstreams.jsonrpc import Listener, Message, NotMcpError
from data_plane.upstreams.target import target_of
from data_plane.upstreams.websocket import WebSocket
from data_plane.watches import Watches

MAX_RESULT = 4096
_STATUSES = (200, 200, 202, 400, 404, 401, 302, 500)
_HANDSHAKE = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TURNS = 200
"""Of the loop, after which whatever still runs is waiting for something that never comes."""

T = TypeVar("T")


@lru_cache
def loop() -> asyncio.AbstractEventLoop:
    """The one that every run uses: making one takes longer than what it is for."""
    made = asyncio.new_event_loop()
    made.set_exception_handler(_unhandled)
    return made


_raised: list[BaseException] = []


def _unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    _raised.append(context.get("exception") or AssertionError(context["message"]))


def close() -> None:
    """Gives back what runs were made of."""
    loop().close()
    loop.cache_clear()
    _config.cache_clear()
    _tcp().close()
    _tcp.cache_clear()


def run(work: Coroutine[Any, Any, T]) -> T:
    """To its end; raises also what a callback raised meanwhile."""
    _raised.clear()
    found = loop().run_until_complete(work)
    if _raised:
        raise _raised[0]
    return found


class Nowhere(asyncio.Transport):
    """What is written is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closing:
            self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> Any:
        known: dict[str, object] = {"socket": _tcp(), "peername": ("192.0.2.1", 1), "sockname": ("192.0.2.2", 80)}
        return known.get(name, default)


@lru_cache
def _tcp() -> socket.socket:
    return socket.socket()


# === servers ===


def answered(data: bytes) -> Raw | None:
    """First byte: era, session and status of the answer; second: into pieces of what size it is cut."""
    how, cut = (data[:2] + b"\0\0")[:2]
    receiver, asked = _receiver(legacy=bool(how & 1), in_session=bool(how & 2))
    kind = b"text/event-stream" if how & 4 else b"application/json"
    receiver.head(_STATUSES[how >> 3 & 7], {b"content-type": kind})
    for at in range(2, len(data), max(1, cut)):
        receiver.data(data[at : at + max(1, cut)])
    if how & 64:
        receiver.failed(ExchangeError("gone", answered=len(data) > 2))
    else:
        receiver.finished()
    for message in asked:
        assert message.method is not None
    return _outcome(receiver)


def http_answered(data: bytes) -> Raw | None:
    """First byte: era and session; second: the size of pieces; then a response, from the status line on."""
    how, cut = (data[:2] + b"\0\0")[:2]
    receiver, _ = _receiver(legacy=bool(how & 1), in_session=bool(how & 2))
    connection = Connection(lambda _: None, lambda _: None, Outbox(loop()))
    transport = Nowhere()
    connection.connection_made(transport)
    receiver.connection = connection
    assert connection.send(b"POST", receiver)
    for at in range(2, len(data), max(1, cut)):
        if transport.closing:
            break
        connection.data_received(data[at : at + max(1, cut)])
    connection.connection_lost(None if how & 64 else ConnectionResetError())
    connection._stop_drain()
    return _outcome(receiver)


def _receiver(*, legacy: bool, in_session: bool) -> tuple[Answer, list[Message]]:
    asked: list[Message] = []
    receiver = Answer(
        1,
        MAX_RESULT,
        Listener(1, "debug"),
        _noted,
        on_request=asked.append if legacy else None,
        in_session=in_session,
        loop=loop(),
    )
    return receiver, asked


def _noted(notification: Notification) -> None:
    from tests.fuzz.targets import strict

    assert isinstance(strict(notification.params), dict)


def _outcome(receiver: Answer) -> Raw | None:
    assert receiver.outcome.done(), "a call that waits for ever"
    failure = receiver.outcome.exception()
    if failure is not None:
        assert isinstance(failure, Unavailable | ExchangeError), failure
        return None
    outcome: Outcome = receiver.outcome.result()
    return outcome if isinstance(outcome, Raw) else None


def channelled(data: bytes) -> list[bytes]:
    """First byte: era, and how many calls are under way. Returns what the server was told meanwhile."""
    return run(_channelled(data))


async def _channelled(data: bytes) -> list[bytes]:
    how, lines = (data[:1] + b"\0")[0], data[1:].split(b"\n")
    said: list[bytes] = []
    duplex = Duplex(lambda message, request_id=None: said.append(message))
    duplex.greeting = Greeting(era="modern" if how & 1 else "legacy", revision="2025-11-25", logs=bool(how & 2))
    calls = [
        asyncio.ensure_future(duplex.call(_route(), _outgoing(b"p%d" % (number & how >> 4)), _noted, _asked))
        for number in range(1 + (how >> 2 & 3))
    ]
    await _turns(3)
    for line in lines:
        try:
            duplex.heard(line)
        except NotMcpError:
            continue
        await _turns(2)
    duplex.fail("is gone")
    for call in calls:
        call.cancel()
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if not isinstance(outcome, Raw | Unavailable | asyncio.CancelledError):
            raise outcome
    assert duplex.in_flight == 0
    return said


async def _asked(question: Question) -> Reply:
    from tests.fuzz.targets import strict

    assert isinstance(strict(question.params or b"{}"), dict)
    return Reply(result=b"{}")


def _route() -> Route:
    transport = HttpTransport(url="http://127.0.0.1:9/")
    return Route(tenant="acme", backend=Backend(server="s", transport=transport, max_result_bytes=MAX_RESULT), tool="t")


def _outgoing(principal: bytes) -> Outgoing:
    capabilities = b'{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}'
    return Outgoing(
        arguments=b"{}", capabilities=capabilities, wants_progress=True, log_level="info", principal=principal
    )


def websocketed(data: bytes) -> None:
    """First byte: whether the handshake is ours; second: the size of pieces."""
    run(_websocketed(data))


async def _websocketed(data: bytes) -> None:
    how, cut = (data[:2] + b"\0\0")[:2]
    socket_ = WebSocket(target_of("ws://upstream.example/mcp"), [])
    transport = Nowhere()
    socket_.connection_made(transport)
    socket_.duplex.greeting = Greeting(era="legacy", revision="2025-11-25")
    if how & 1:
        socket_.data_received(_accepting(b"".join(transport.written)))
        assert socket_.accepted.done()
    call = asyncio.ensure_future(socket_.duplex.call(_route(), _outgoing(b"p"), _noted, _asked))
    await _turns(3)
    for at in range(2, len(data), max(1, cut)):
        if transport.closing:
            break
        socket_.data_received(data[at : at + max(1, cut)])
        await _turns(1)
    assert socket_._size <= socket_.duplex.max_bytes + 65536 + cut
    socket_.connection_lost(None)
    await _turns(3)
    assert call.done(), "a call that waits for ever"
    failure = call.exception()
    assert failure is None or isinstance(failure, Unavailable), failure
    socket_.accepted.cancelled() or socket_.accepted.exception()


def _accepting(request: bytes) -> bytes:
    key = next(
        line.split(b":")[1].strip() for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
    )
    accept = base64.b64encode(hashlib.sha1(key + _HANDSHAKE).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: mcp\r\n\r\n"
    )


# === agents ===


def fronted(data: bytes) -> None:
    """First byte: the size of pieces, in eights."""
    for status in run(_fronted(data)):
        assert status < 500 or status == 503, status


async def _fronted(data: bytes) -> list[int]:
    cut = max(1, (data[:1] + b"\0")[0] * 8)
    state, transport = ServerState(), Nowhere()
    state.default_headers = [(b"date", b"Fri, 20 Nov 2026 12:00:00 GMT")]  # As the sweep keeps it.
    protocol = type("Fronted", (Front,), {"options": ServerOptions(), "outbox": Outbox(loop()), "refused": Hits()})
    connection = protocol(config=_config(), server_state=state, app_state={}, _loop=loop())
    connection.connection_made(transport)
    for at in range(1, len(data), cut):
        if transport.closing:
            break
        connection.data_received(data[at : at + cut])
        await _turns(2)
    for _ in range(_TURNS):
        if not state.tasks:
            break
        await asyncio.sleep(0)
    connection.connection_lost(None)
    await _turns(5)
    left = list(state.tasks)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    return list(_statuses(b"".join(transport.written)))


@lru_cache
def _config() -> Any:
    """A worker's front with all of its transports, which no other worker is beside."""
    bus, bodies = MemoryBus(), Bodies(4096, 1 << 20)
    snapshot = SimpleNamespace(manifest=SimpleNamespace(generation=1))
    streams = Streams(
        Listeners(lambda _tenant: None),
        Watches({}),
        lambda *_: Sight(b"", b"", b""),
        lambda _tenant: snapshot,  # type: ignore[arg-type,return-value]
    )
    sessions, events = SessionNotes(MemoryCache(time.monotonic), bus), MemoryEvents(time.monotonic)
    shared = Shared(pipeline, streams, sessions, bus, events, quiet_s=3600.0, linger_s=0.0)
    others = Others(pipeline, pipeline, streams, bus, bodies, prove=pipeline, version="1", quiet_s=3600.0)
    return configuration(
        Application(
            pipeline,
            FrontOptions(max_body_bytes=4096, quiet_s=3600.0),
            prove=pipeline,
            version="1",
            shared=shared,
            healthy=lambda: True,
            ready=lambda: True,
            bodies=bodies,
            others=others.served,
        )
    )


async def pipeline(inbound: Inbound) -> Result:
    """Answers as the real one would, of the gateway's own; a session is whatever it is called."""
    if inbound.method == "initialize":
        body = results.initialize_result(inbound.revision, version="1")
        return Result(result=body, revision=inbound.revision, session="s1")
    if inbound.method == "connect":
        return Result(result=b'{"max_body_bytes":4096}', revision=inbound.revision, opening=Opening(tenant="acme"))
    if inbound.method in ("GET", "subscriptions/listen"):
        return Result(result=b'{"notifications":{}}', revision=inbound.revision, opening=Opening(tenant="acme"))
    if inbound.method in ("tools/call", "prompts/get", "resources/read"):
        if inbound.notify is not None:
            inbound.notify(Notification("notifications/progress", b'{"progress":1}'))
        await asyncio.sleep(0)
        return Result(result=b'{"content":[]}', revision=inbound.revision, era="legacy")
    if inbound.method == "ping" or inbound.method.startswith("notifications/"):
        return Result(result=results.EMPTY, revision=inbound.revision)
    raise Refused(Reason.UNKNOWN_METHOD, f"Method not found: {inbound.method}")


class _Desk:
    """What a conversation shares with others; nothing here is listened to."""

    handle = staticmethod(pipeline)
    server_info = b'{"name":"toolgate"}'
    quiet_s = 3600.0

    def __init__(self) -> None:
        snapshot = SimpleNamespace(manifest=SimpleNamespace(generation=1))
        sight = Sight(b"", b"", b"")
        self.streams = Streams(Listeners(lambda _: None), Watches({}), lambda *_: sight, lambda _: snapshot)  # type: ignore[arg-type,return-value]

    def next_id(self) -> str:
        return "i-1"

    async def expelled(self, _: Party) -> bool:
        return False


class _Line:
    def __init__(self) -> None:
        self.said: list[bytes] = []

    async def say(self, messages: Sequence[bytes]) -> None:
        self.said += messages

    async def beat(self) -> None:
        """Nothing to keep alive."""


def talked(data: bytes) -> list[bytes]:
    """First byte: whether a session is begun, and of which revision; then messages, one to a line."""
    return run(_talked(data))


async def _talked(data: bytes) -> list[bytes]:
    how, lines = (data[:1] + b"\0")[0], data[1:].split(b"\n")
    place, line = Address("acme", "main", leaf="ws"), _Line()
    talk = Talk(_Desk(), Party(place=place, transport="websocket", credential=b"k"), 4096)  # type: ignore[arg-type]
    running = asyncio.ensure_future(talk.run(line))
    if how & 1:
        revision = LEGACY[how >> 1 & 3].encode()
        talk.heard(b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"%b"}}' % revision)
        await _turns(8)
    for one in lines:
        talk.heard(one)
        await _turns(2)
    await _turns(12)
    talk.lost()
    await running
    assert talk.in_flight == 0, "a request that outlives its connection"
    return line.said


def _statuses(written: bytes) -> Iterator[int]:
    """Of answers in a row. Raises for what a client could not read."""
    while written:
        head, _, rest = written.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        assert line.startswith(b"HTTP/1.1 "), line
        fields = {name.lower(): value.strip() for name, _, value in (one.partition(b":") for one in lines)}
        yield int(line.split()[1])
        if b"transfer-encoding" in fields or line.split()[1] in (b"100", b"101"):
            return
        length = int(fields.get(b"content-length", b"0"))
        if fields.get(b"content-type") == b"application/json" and len(rest) >= length:
            jsonrpc._any.decode(rest[:length])
        written = rest[length:]


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
