"""What a legacy session settles after its beginning: the log level it wants, and the resources it subscribed to.

Kept in the Cache that all replicas share, remembered by the workers that serve it; while it is away, as if never said.
"""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

from core.bound import Bound
from core.bus import GAP, Bus, BusAway, Cache

TTL_S: Final = 86400.0
"""As long as a session can live."""
MAX_URIS: Final = 256
REMEMBERED: Final = 4096
TOPIC: Final = "sessions"


class Notes(msgspec.Struct, frozen=True, array_like=True):
    log_level: str = ""
    uris: tuple[str, ...] = ()
    """Exposed URIs."""
    ended: bool = False
    """The client said that it is done with the session."""


NOTHING: Final = Notes()
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Notes).decode


class SessionNotes:
    """One per worker. `listen` before use."""

    def __init__(self, cache: Cache, bus: Bus) -> None:
        self._cache = cache
        self._bus = bus
        self._known: OrderedDict[bytes, Notes] = OrderedDict()
        self._spelt: dict[bytes, bytes] = {}
        """Mark to session, of those known."""
        self._unshared: set[bytes] = set()
        """Sessions known here whose last notes are not in the Cache."""
        self._watched: dict[bytes, Callable[[], None]] = {}
        """By mark."""

    def __len__(self) -> int:
        return len(self._known)

    @property
    def bound(self) -> Bound:
        return Bound(len(self._known), REMEMBERED, 0)

    async def listen(self) -> None:
        """Hear of what other workers change. Raises BusAway."""
        await self._bus.subscribe(TOPIC, self._heard)
        await self._bus.subscribe(GAP, lambda _: self._missed())

    def at_hand(self, session: bytes) -> Notes | None:
        """What is remembered here; None: `of` has to look."""
        return self._known.get(session)

    async def of(self, session: bytes) -> Notes:
        """What the session settled. `session`: its id as the client sends it, proven to be the caller's."""
        known = self._known.get(session)
        if known is not None:
            self._known.move_to_end(session)
            return known
        mark = _mark(session)
        try:
            kept = await self._cache.get(_key(mark))
            notes = _decode(kept) if kept is not None else NOTHING
        except (BusAway, msgspec.MsgspecError):
            notes = NOTHING
        self._remember(session, mark, notes)
        return notes

    async def put(self, session: bytes, notes: Notes) -> None:
        """For every replica. Where nothing can be shared, for this worker."""
        mark = _mark(session)
        self._remember(session, mark, notes)
        self._unshared.add(session)
        try:
            await self._cache.put(_key(mark), _encode(notes), TTL_S)
            self._unshared.discard(session)
            await self._bus.publish(TOPIC, mark)
        except BusAway:
            self._remember(session, mark, notes)
            self._tell(mark)

    def watch(self, session: bytes, changed: Callable[[], None]) -> Callable[[], None]:
        """Be told when there is something new in `of`, until what is returned is called. One watcher a session."""
        mark = _mark(session)
        self._watched[mark] = changed

        def leave() -> None:
            if self._watched.get(mark) is changed:
                del self._watched[mark]

        return leave

    def _heard(self, mark: bytes) -> None:
        session = self._spelt.pop(mark, None)
        if session is not None:
            self._known.pop(session, None)
        self._tell(mark)

    def _missed(self) -> None:
        """What was said elsewhere meanwhile is in the Cache; what could not be put there is here."""
        for session in [session for session in self._known if session not in self._unshared]:
            self._spelt.pop(_mark(session), None)
            del self._known[session]
        for mark in list(self._watched):
            self._tell(mark)

    def _tell(self, mark: bytes) -> None:
        watching = self._watched.get(mark)
        if watching is not None:
            watching()

    def _remember(self, session: bytes, mark: bytes, notes: Notes) -> None:
        self._known[session] = notes
        self._known.move_to_end(session)
        self._spelt[mark] = session
        if len(self._known) > REMEMBERED:
            forgotten, _ = self._known.popitem(last=False)
            self._spelt.pop(_mark(forgotten), None)
            self._unshared.discard(forgotten)


def _mark(session: bytes) -> bytes:
    """What a session is called where others could read it."""
    return blake2b(session, digest_size=16).digest()


def _key(mark: bytes) -> str:
    return f"session/{mark.hex()}"
