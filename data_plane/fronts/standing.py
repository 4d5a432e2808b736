"""The stream a session of the handshake era may hold open (GET): what changes, as long as its client listens.

A session has one: the newest, on whichever worker. Where its revision can take a stream up again, what a client that
lost its connection would have heard is kept for a while.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from secrets import token_hex
from time import monotonic_ns, time
from typing import Final

import msgspec

from core.bound import Bound
from core.call import Inbound, Notification, Opening, Result
from core.errors import Reason, Refused, Unavailable
from core.mcp import errors, notifications, sse
from data_plane.fronts import heads
from data_plane.fronts.asgi import Receive, Scope, Send
from data_plane.fronts.event_stream import EventStream, OpenStreams
from data_plane.fronts.exchange import MAX_QUEUED_BYTES
from data_plane.fronts.mail import Done, Followed, Here, Mail, Opened, Told, mark, within
from data_plane.fronts.trails import RESUMABLE, RETRY_MS, Said, TakenUp, Trail, Trails, read
from data_plane.sessions import SessionNotes
from data_plane.streams import Stream, Streams

log = logging.getLogger("toolgate.standing")

LINGER_S: Final = 120.0
"""How long a client may take to come back."""
LINGERING: Final = 4000
"""Of one worker."""
HOLDER_S: Final = 0.1
"""A worker that holds a session's stream says so within this."""
IN_FORCE_S: Final = 0.5
PROBE_S: Final = 10.0
"""How often whoever waits for a call of another worker makes sure that it is there."""
AGAIN_S: Final = 1.0
SKEW_S: Final = 2.0

_GONE: Final = Unavailable(
    Reason.OVERLOADED, "the gateway that ran the request is gone; send the request again", retry_after_s=1
)
Handle = Callable[[Inbound], Awaitable[Result]]


class Standing:
    """All of one worker."""

    def __init__(  # noqa: PLR0917 - its parts
        self,
        handle: Handle,
        streams: Streams,
        opened: OpenStreams,
        trails: Trails,
        sessions: SessionNotes,
        mail: Mail,
        *,
        linger_s: float = LINGER_S,
    ) -> None:
        self.handle = handle
        self.trails = trails
        self.linger_s = linger_s
        self._streams = streams
        self._opened = opened
        self._sessions = sessions
        self._mail = mail
        self._of: dict[bytes, _Session] = {}
        self._lingering: OrderedDict[_Session, asyncio.TimerHandle] = OrderedDict()
        self._dropped = 0
        self._errands: set[asyncio.Task[None]] = set()
        mail.read(Opened, self._elsewhere)
        mail.read(Followed, self._followed)
        mail.read(Told, self._told)

    @property
    def bound(self) -> Bound:
        """Of those whose clients may come back."""
        return Bound(len(self._lingering), LINGERING, self._dropped)

    async def serve(  # noqa: PLR0917 - ASGI's three, and what is answered
        self, scope: Scope, receive: Receive, send: Send, inbound: Inbound, result: Result, last_event_id: str
    ) -> None:
        """A GET that the pipeline allowed. Raises Refused and Unavailable, and has sent nothing then."""
        assert result.opening is not None
        inbound.revision = result.revision
        out = EventStream(send, heads.cors(inbound.origin))
        name = read(last_event_id, inbound.session) if last_event_id else None
        if name is not None and name.kind == "call":
            taken = await self.trails.take_up(name)
            await self._go_on(scope, receive, inbound, taken, out)
            return
        session = _Session(self, inbound, out)
        session.open(self._streams, result.opening, self._sessions)
        missed: TakenUp | None = None
        try:
            if name is not None:
                missed = await self.trails.take_up(name)
                missed.close()
            session.begin(missed, result.opening)
            self._mail.post(Opened(session.mark, session.name, session.at))
            self._enter(session)
            await self._opened.run(scope, receive, out, session.pause)
        finally:
            self._left(session)

    async def in_force(self, session: bytes) -> None:
        """Until what a session just subscribed to reaches its stream, if it has one, or for a moment."""
        holder = self._of.get(mark(session))
        if holder is not None:
            await holder.settled(IN_FORCE_S)
            return
        with self._mail.expecting() as expected:
            self._mail.post(Followed(mark(session), self._mail.here, expected.letter))
            if await within(expected.here, HOLDER_S):
                await within(expected.done, IN_FORCE_S)

    def close(self) -> None:
        for session in [*self._of.values(), *self._lingering]:
            session.close()
        for timer in self._lingering.values():
            timer.cancel()
        self._lingering.clear()

    def forget(self, session: "_Session") -> None:
        timer = self._lingering.pop(session, None)
        if timer is not None:
            timer.cancel()
        if self._of.get(session.mark) is session:
            del self._of[session.mark]

    def _enter(self, session: "_Session") -> None:
        before = self._of.get(session.mark)
        if before is not None:
            before.close()
        self._of[session.mark] = session

    def _left(self, session: "_Session") -> None:
        """The client is not connected any more; it may come back, where it can say what it heard."""
        if session.closed or session.trail is None:
            session.close()
            return
        if len(self._lingering) >= LINGERING:
            self._dropped += 1
            next(iter(self._lingering)).close()
        loop = asyncio.get_running_loop()
        self._lingering[session] = loop.call_later(self.linger_s, session.close)

    def _elsewhere(self, letter: Opened) -> None:
        session = self._of.get(letter.session)
        if session is None or session.name == letter.by:
            return
        # Of two that are opened at once, both hear of the other: the newer stays. Clocks may differ.
        if not 0 <= session.at - letter.at < SKEW_S or (session.at == letter.at and session.name < letter.by):
            session.close()

    def _followed(self, letter: Followed) -> None:
        session = self._of.get(letter.session)
        if session is None:
            return
        self._mail.post(Here(letter.letter), to=letter.reply_to)
        errand = asyncio.ensure_future(self._say_when(session, letter))
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    def _told(self, letter: Told) -> None:
        session = self._of.get(letter.session)
        if session is not None:
            session.tell(Notification(letter.method, letter.params))

    async def _say_when(self, session: "_Session", letter: Followed) -> None:
        await session.settled(IN_FORCE_S)
        self._mail.post(Done(letter.letter), to=letter.reply_to)

    async def _go_on(self, scope: Scope, receive: Receive, inbound: Inbound, taken: TakenUp, out: EventStream) -> None:
        """A call's stream, from where its client lost it."""
        telling = asyncio.ensure_future(_retell(inbound, taken, out))
        try:
            await self._opened.run(scope, receive, out, out.end)
        finally:
            telling.cancel()
            await asyncio.wait((telling,))
            taken.close()


class _Session:
    """One session's stream."""

    __slots__ = (
        "_early",
        "_errand",
        "_held",
        "_inbound",
        "_leave",
        "_out",
        "_stale",
        "_standing",
        "_stream",
        "at",
        "closed",
        "mark",
        "name",
        "trail",
    )

    def __init__(self, standing: Standing, inbound: Inbound, out: EventStream) -> None:
        self.mark = mark(inbound.session)
        self.name = token_hex(8)
        self.at = time()
        self.trail: Trail | None = None
        self.closed = False
        self._standing = standing
        self._inbound = inbound
        self._out = out
        self._early: list[bytes] | None = []
        """What was told before what the client missed."""
        self._held = 0
        self._stream: Stream | None = None
        self._leave: Callable[[], None] | None = None
        self._errand: asyncio.Task[None] | None = None
        self._stale = False

    def open(self, streams: Streams, opening: Opening, sessions: SessionNotes) -> None:
        """What happens from here on is heard. Raises Unavailable."""
        self._stream = streams.open(self._inbound, opening, self.tell, self.close)
        self._leave = sessions.watch(self._inbound.session, self._changed)

    def begin(self, taken: TakenUp | None, opening: Opening) -> None:
        """What was missed first, then what was heard meanwhile and is not among it."""
        missed = [said.message for said in taken.missed] if taken is not None else []
        for said in taken.missed if taken is not None else ():
            self._out.write(sse.event(said.message, said.id))
        if self._inbound.revision >= RESUMABLE:
            self.trail = self._standing.trails.begin("session", self._inbound.session, self.close)
        if self.trail is not None:
            self._out.write(sse.priming(self.trail.add(b"").id, RETRY_MS))
        early, self._early = self._early or [], None
        for message in early:
            if message not in missed:
                self._write(message)
        if taken is not None and taken.gap:
            for notification in _everything(opening):
                self.tell(notification)

    def pause(self) -> None:
        """The worker is leaving: the client is to come back elsewhere, and what it would have heard is kept."""
        self._out.end()

    def close(self) -> None:
        """It is over: another took its place, there is no right to it any more, or nobody came back."""
        if self.closed:
            return
        self.closed = True
        if self._stream is not None:
            self._stream.close()
        if self._leave is not None:
            self._leave()
        if self.trail is not None:
            self.trail.end()
        if self._errand is not None and self._errand is not asyncio.current_task():
            self._errand.cancel()
        self._out.end()
        self._standing.forget(self)

    async def settled(self, limit_s: float) -> None:
        """Until all that the session subscribed to so far is listened to."""
        if self._errand is not None:
            await asyncio.wait((self._errand,), timeout=limit_s)

    def tell(self, notification: Notification) -> None:
        message = notifications.outgoing(notification, self._inbound)
        if message is None:
            return
        if self._early is not None:
            self._held += len(message)
            if self._held > MAX_QUEUED_BYTES:
                self._out.lost()
            else:
                self._early.append(message)
        else:
            self._write(message)

    def _write(self, message: bytes) -> None:
        id_ = self.trail.add(message).id if self.trail is not None else ""
        self._out.write(sse.event(message, id_))

    def _changed(self) -> None:
        """The session settled something: it subscribed, or ended."""
        self._stale = True
        if self._errand is None or self._errand.done():
            self._errand = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while self._stale:
            self._stale = False
            inbound = msgspec.structs.replace(self._inbound, received_ns=monotonic_ns())
            try:
                result = await self._standing.handle(inbound)
            except (Refused, Unavailable) as failure:
                if isinstance(failure, Refused) and failure.reason is not Reason.RATE_LIMITED:
                    self.close()
                    return
                self._stale = True
                await asyncio.sleep(failure.retry_after_s or AGAIN_S)
                continue
            except Exception:
                log.exception("a session's stream cannot be looked at again")
                self.close()
                return
            if self._stream is not None and result.opening is not None:
                self._stream.hear_of(result.opening.subjects)
                await self._stream.settled()


async def _retell(inbound: Inbound, taken: TakenUp, out: EventStream) -> None:
    last = False

    def say(said: Said) -> None:
        nonlocal last
        last = last or said.last
        if said.message:
            out.write(sse.event(said.message, said.id))

    for said in taken.missed:
        say(said)
    while not last and taken.alive:
        said_now = await taken.next(PROBE_S)
        if said_now is not None:
            say(said_now)
        elif taken.alive and not await taken.owner():
            # Its last word may have come while it was looked for.
            while (left := await taken.next(0.01)) is not None:
                say(left)
            taken.alive = False
    if not last and not taken.superseded:
        out.write(sse.event(errors.body(taken.request_id or errors.NULL, errors.of_failure(_GONE, inbound))))
    out.end()


def _everything(opening: Opening) -> list[Notification]:
    """Of a gap: all that may have changed."""
    lists = (("tools", opening.tools), ("prompts", opening.prompts), ("resources", opening.resources))
    changed = [Notification(f"notifications/{kind}/list_changed", b"{}") for kind, wanted in lists if wanted]
    return changed + [
        Notification(subject.method, msgspec.json.encode({"uri": subject.exposed})) for subject in opening.subjects
    ]
