"""Letters between the fronts of all workers: to one of them, or to whoever holds a session's stream.

Lost ones cost what they were about, never more: whoever waits for an answer to a letter waits for a bounded time.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from secrets import token_hex
from typing import Final, TypeVar

import msgspec

from core.bound import Bound, Hits
from core.bus import Bus, BusAway

log = logging.getLogger("toolgate.mail")

ALL: Final = "fronts"
"""The topic that every worker listens to."""
OUTGOING_MAX: Final = 4096
"""Letters on their way of one worker; more are dropped, and counted."""


class Answered(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A client answered a question."""

    question: str
    session: bytes
    result: bytes
    error: bytes


class Taken(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Somebody else writes a stream to its client from here on: the events after these go over the bus."""

    stream: str
    reply_to: str
    letter: str


class Here(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """What a letter asks for is being done."""

    letter: str


class Done(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """It is done, or there is nothing to do it with."""

    letter: str
    newest: int = 0
    """Of a stream that was taken: number of its last event; 0: it is over."""


class Opened(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A session has a new stream of its own; any other it has is over."""

    session: bytes
    by: str
    """Name of the new one."""
    at: float
    """Unix seconds."""


class Followed(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Say when the session's stream hears of all that it subscribed to."""

    session: bytes
    reply_to: str
    letter: str


class Cancelled(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """A client takes a request back."""

    session: bytes
    request_id: bytes


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """A client is done with its session: nobody can answer what it was asked."""

    session: bytes


class Told(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """A session is to hear of something on its own stream."""

    session: bytes
    method: str
    params: bytes


Letter = Answered | Taken | Here | Done | Opened | Followed | Cancelled | Ended | Told
T = TypeVar("T", bound=Letter)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Letter).decode


def mark(session: bytes) -> bytes:
    """What a session is called where others could read it."""
    return blake2b(session, digest_size=16).digest()


class Mail:
    """Of one worker. `open` before letters can come."""

    def __init__(self, bus: Bus) -> None:
        self.here: Final = token_hex(8)
        """This worker, as others address it."""
        self.bus: Final = bus
        self._readers: dict[type, Callable[[Letter], None]] = {}
        self._awaited: dict[str, Expected] = {}
        self._outgoing: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(OUTGOING_MAX)
        self._dropped = Hits()
        self._sending: asyncio.Task[None] | None = None

    @property
    def bound(self) -> Bound:
        return Bound(self._outgoing.qsize(), OUTGOING_MAX, self._dropped.count)

    async def open(self) -> None:
        """Raises BusAway."""
        await self.bus.subscribe(ALL, self._received)
        await self.bus.subscribe(_box(self.here), self._received)

    async def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait((self._sending,))

    def read(self, kind: type[T], reader: Callable[[T], None]) -> None:
        """Who takes letters of a kind; it neither blocks nor raises."""
        self._readers[kind] = reader  # type: ignore[assignment]

    def post(self, letter: Letter, to: str = "") -> None:
        """To one worker, or to all, this one included. In order; returns at once."""
        if to == self.here:
            self._received(_encode(letter))
            return
        self.publish(_box(to) if to else ALL, _encode(letter))

    async def send(self, letter: Letter, to: str) -> None:
        """As `post`, where it matters that it is on its way. Raises BusAway."""
        if to == self.here:
            self._received(_encode(letter))
        else:
            await self.bus.publish(_box(to), _encode(letter))

    def publish(self, topic: str, message: bytes) -> None:
        """As `post`, of anything on any topic."""
        try:
            self._outgoing.put_nowait((topic, message))
        except asyncio.QueueFull:
            self._dropped.count += 1
            return
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._send())

    @contextmanager
    def expecting(self) -> Iterator["Expected"]:
        """A name for a letter whose receiver says that it is there, and that it is done."""
        expected = Expected(token_hex(8))
        self._awaited[expected.letter] = expected
        try:
            yield expected
        finally:
            del self._awaited[expected.letter]

    def _received(self, raw: bytes) -> None:
        try:
            letter = _decode(raw)
        except msgspec.MsgspecError:
            log.warning("a letter cannot be read")
            return
        if isinstance(letter, Here | Done):
            expected = self._awaited.get(letter.letter)
            if expected is not None:
                expected.received(letter)
            return
        reader = self._readers.get(type(letter))
        if reader is not None:
            reader(letter)

    async def _send(self) -> None:
        """Until nothing is left to send."""
        while not self._outgoing.empty():
            topic, message = self._outgoing.get_nowait()
            try:
                await self.bus.publish(topic, message)
            except BusAway as away:
                self._dropped.count += 1
                log.warning("a letter is lost: %s", away)


class Expected:
    """What became of a letter."""

    def __init__(self, letter: str) -> None:
        self.letter = letter
        self.here = asyncio.Event()
        self.done = asyncio.Event()
        self.newest = 0

    def received(self, letter: Here | Done) -> None:
        self.here.set()
        if isinstance(letter, Done):
            self.newest = letter.newest
            self.done.set()


async def within(event: asyncio.Event, limit_s: float) -> bool:
    """Whether it is set within the time."""
    try:
        async with asyncio.timeout(limit_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _box(worker: str) -> str:
    return f"front/{worker}"
