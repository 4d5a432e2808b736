"""Event streams that a client may take up again, on any replica: GET with the `Last-Event-ID` it saw.

The worker that runs what a stream tells of numbers its events and keeps the last in the EventLog. Whoever takes the
stream up lets that worker know; from then on events go over the bus as well. An event's id is worth something in its
own session only.
"""

import asyncio
import logging
from collections.abc import Callable
from hashlib import blake2b
from secrets import token_hex
from typing import Final, Literal

import msgspec

from core.bound import Bound
from core.bus import BusAway, Event, EventLog, Leave
from core.errors import Reason, Refused
from data_plane.fronts.mail import Done, Here, Mail, Taken, mark, within

log = logging.getLogger("toolgate.trails")

Kind = Literal["call", "session"]
"""What a stream tells of: one request, until its result; or what changes, for as long as there is the session."""

RESUMABLE: Final = "2025-11-25"
"""The first revision whose clients stand a priming event."""
GATHER_S: Final = 0.005
"""What is told within this goes to the log in one message: for a short call with progress, all of it."""
PORTION_BYTES: Final = 256 * 1024
CAP: Final = 10_000
"""Of one worker; streams beyond it cannot be taken up again."""
QUEUED: Final = 1024
"""Events of a stream on their way to the log; more, and the stream cannot be taken up again."""
OWNER_S: Final = 2.0
"""A worker that is there says so within this."""
FLUSHED_S: Final = 5.0
RETRY_MS: Final = 1000

_KINDS: Final[dict[str, Kind]] = {"c": "call", "s": "session"}
_PARTS: Final = 4
_MAX_ID: Final = 200


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    message: bytes
    request_id: bytes = b""
    """Of a call's stream, so that whoever takes it up can answer where nobody else does any more."""
    last: bool = False


_encode = msgspec.msgpack.Encoder().encode
_kept = msgspec.msgpack.Decoder(_Kept).decode
_event = msgspec.msgpack.Decoder(Event).decode


class Said(msgspec.Struct, frozen=True):
    """An event as a client gets it."""

    id: str
    message: bytes
    """Empty: the priming event."""
    last: bool = False


class Name(msgspec.Struct, frozen=True):
    """What an event's id says."""

    kind: Kind
    owner: str
    stream: str
    session: bytes
    number: int = 0

    def id(self, number: int) -> str:
        return f"{self.kind[0]}{self.owner}-{self.stream}-{self._seal()}-{number}"

    @property
    def log(self) -> str:
        return f"events/{mark(self.session).hex()}/{self.stream}"

    @property
    def topic(self) -> str:
        return f"stream/{self.stream}"

    def _seal(self) -> str:
        key = blake2b(self.session, digest_size=32).digest()
        return blake2b(f"{self.kind}{self.owner}{self.stream}".encode(), key=key, digest_size=8).hexdigest()


def read(id: str, session: bytes) -> Name:  # noqa: A002
    """Raises Refused(INVALID) for an id that no event of this session has."""
    parts = id.split("-")
    if len(id) <= _MAX_ID and id.isascii() and len(parts) == _PARTS and parts[3].isdigit() and parts[0][:1] in _KINDS:
        name = Name(_KINDS[parts[0][0]], parts[0][1:], parts[1], session, int(parts[3]))
        if name.number and name.id(name.number) == id:
            return name
    raise Refused(Reason.INVALID, "Last-Event-ID is no event of this session", detail="event id")


class Trail:
    """Of one stream, in the worker that runs what it tells of."""

    def __init__(self, trails: "Trails", name: Name, request_id: bytes, taken: Callable[[], None]) -> None:
        self.name = name
        self.newest = 0
        # Each is a hash or two of the session, and there is an event for every message.
        self._log = name.log
        self._id = name.id(0)[:-1]
        self._trails = trails
        self._request_id = request_id
        self._on_taken = taken
        self._taken = False
        self._over = False
        self._queue: list[Event] = []
        self._writing: asyncio.Task[None] | None = None

    def add(self, message: bytes, *, last: bool = False) -> Said:
        """The next event; an empty message is the priming one. After the last the stream is over."""
        self.newest += 1
        priming_of_session = not message and not self._request_id
        if len(self._queue) < QUEUED and not priming_of_session:
            self._queue.append(Event(self.newest, _encode(_Kept(message, self._request_id, last))))
            if self._writing is None:
                self._writing = asyncio.ensure_future(self._write())
        said = Said(f"{self._id}{self.newest}", message, last)
        if last:
            self.end()
        return said

    def end(self) -> None:
        """Nothing more will be added."""
        self._over = True
        if self._writing is None:
            self._trails.forget(self)

    def take(self) -> None:
        """Somebody else writes it to the client from here on."""
        self._taken = True
        self._on_taken()

    async def flushed(self) -> None:
        """Until everything added so far is in the log."""
        if self._writing is not None:
            await asyncio.wait((self._writing,), timeout=FLUSHED_S)

    async def _write(self) -> None:
        try:
            while self._queue:
                if not self._taken:
                    await asyncio.sleep(GATHER_S)
                await self._keep(self._portion())
        finally:
            self._writing = None
            if self._over:
                self._trails.forget(self)

    def _portion(self) -> list[Event]:
        """The first of the queue, and as many behind it as go together."""
        size = count = 0
        for event in self._queue:
            size += len(event.message)
            if count and size > PORTION_BYTES:
                break
            count += 1
        portion, self._queue = self._queue[:count], self._queue[count:]
        return portion

    async def _keep(self, events: list[Event]) -> None:
        try:
            await self._trails.events.append(self._log, *events)
        except BusAway as away:
            log.warning("events cannot be kept: %s", away)
        if self._taken:
            for event in events:
                self._trails.mail.publish(self.name.topic, _encode(event))


class Trails:
    """Of one worker."""

    def __init__(self, events: EventLog, mail: Mail, *, cap: int = CAP) -> None:
        self.events = events
        self.mail = mail
        self._cap = cap
        self._open: dict[str, Trail] = {}
        self._refused = 0
        self._errands: set[asyncio.Task[None]] = set()
        mail.read(Taken, self._taken)

    @property
    def bound(self) -> Bound:
        return Bound(len(self._open), self._cap, self._refused)

    def begin(self, kind: Kind, session: bytes, taken: Callable[[], None], request_id: bytes = b"") -> Trail | None:
        """`taken`: called when somebody else writes it from here on. None at the cap."""
        if len(self._open) >= self._cap:
            self._refused += 1
            return None
        name = Name(kind, self.mail.here, token_hex(16), session)
        trail = self._open[name.stream] = Trail(self, name, request_id, taken)
        return trail

    def forget(self, trail: Trail) -> None:
        self._open.pop(trail.name.stream, None)

    def _taken(self, letter: Taken) -> None:
        trail = self._open.get(letter.stream)
        if trail is None:
            self.mail.post(Done(letter.letter), to=letter.reply_to)
            return
        self.mail.post(Here(letter.letter), to=letter.reply_to)
        newest = trail.newest
        trail.take()
        errand = asyncio.ensure_future(self._hand_over(trail, newest, letter))
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _hand_over(self, trail: Trail, newest: int, letter: Taken) -> None:
        await trail.flushed()
        self.mail.post(Done(letter.letter, max(newest, trail.newest)), to=letter.reply_to)

    async def take_up(self, name: Name) -> "TakenUp":
        """Take a stream over from whoever writes it now. Raises Refused(INVALID) where its events are not kept."""
        taken = TakenUp(self, name)
        try:
            await taken.begin()
        except BaseException:
            taken.close()
            raise
        return taken


class TakenUp:
    """A stream that its client came back for. `close` it when it is over."""

    def __init__(self, trails: Trails, name: Name) -> None:
        self.name = name
        self.missed: list[Said] = []
        self.gap = False
        """Of a session's stream: what was missed is not known."""
        self.request_id = b""
        self.alive = False
        """Whether more can come."""
        self.superseded = False
        """It was taken up once more, elsewhere."""
        self._trails = trails
        self._mine = token_hex(8).encode()
        self._inbox: asyncio.Queue[Event | None] = asyncio.Queue()
        self._last = name.number
        self._leave: Leave | None = None

    async def begin(self) -> None:
        try:
            self._leave = await self._trails.mail.bus.subscribe(self.name.topic, self._received)
        except BusAway as away:
            raise Refused(Reason.INVALID, "the stream cannot be taken up now", detail=str(away)) from away
        self._trails.mail.publish(self.name.topic, _encode(Event(0, self._mine)))
        newest = await self.owner()
        self.alive = newest > 0
        try:
            await self._read_log(newest)
        except BusAway:
            self._unknown()

    async def owner(self) -> int:
        """Number of the stream's last event, as far as its owner knows; 0: it is over, or its owner is gone."""
        mail = self._trails.mail
        with mail.expecting() as expected:
            mail.post(Taken(self.name.stream, mail.here, expected.letter), to=self.name.owner)
            if not await within(expected.here, OWNER_S) or not await within(expected.done, FLUSHED_S):
                return 0
            return expected.newest

    async def next(self, quiet_s: float) -> Said | None:
        """The next live event; None where nothing came for so long. `alive` is False when there are no more."""
        try:
            async with asyncio.timeout(quiet_s):
                while True:
                    event = await self._inbox.get()
                    if event is None:
                        self.alive, self.superseded = False, True
                        return None
                    if event.number > self._last:
                        return self._said(event)
        except TimeoutError:
            return None

    def close(self) -> None:
        if self._leave is not None:
            self._leave()
            self._leave = None

    async def _read_log(self, newest: int) -> None:
        name = self.name
        if name.kind == "session":
            if newest == name.number:
                return
            events = await self._trails.events.after(name.log, name.number)
        else:
            events = await self._trails.events.after(name.log, name.number - 1)
            if events and events[0].number == name.number:
                self.request_id = _kept(events.pop(0).message).request_id
            else:
                events = None
        if events is None:
            self._unknown()
            return
        self.missed = [self._said(event) for event in events]
        self.gap = name.kind == "session" and not newest

    def _unknown(self) -> None:
        if self.name.kind == "call":
            raise Refused(Reason.INVALID, "the events after Last-Event-ID are no longer kept", detail="events gone")
        self.gap = True

    def _said(self, event: Event) -> Said:
        kept = _kept(event.message)
        self._last = event.number
        if kept.last:
            self.alive = False
        return Said(self.name.id(event.number), kept.message, kept.last)

    def _received(self, raw: bytes) -> None:
        event = _event(raw)
        if event.number:
            self._inbox.put_nowait(event)
        elif event.message != self._mine:
            self._inbox.put_nowait(None)  # Taken up once more, elsewhere.
