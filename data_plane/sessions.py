"""What a legacy session settles after its beginning: the log level it wants, and the resources it subscribed to.

Kept in the Cache that all replicas share, remembered by the workers that serve it; while it is away, as if never said.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from secrets import token_bytes
from typing import Final

import msgspec

from core.bound import Bound
from core.bus import GAP, Bus, BusAway, Cache

log = logging.getLogger("toolgate.sessions")

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


class _Change(msgspec.Struct, frozen=True, array_like=True):
    """What a worker tells the others: from what to what, so that two changes at once are both made."""

    by: bytes
    mark: bytes
    before: Notes
    after: Notes

    def of(self, notes: Notes) -> Notes:
        """The same change, of notes that are others by now."""
        kept = tuple(uri for uri in notes.uris if uri in self.after.uris or uri not in self.before.uris)
        added = tuple(uri for uri in self.after.uris if uri not in self.before.uris and uri not in kept)
        return Notes(
            self.after.log_level if self.after.log_level != self.before.log_level else notes.log_level,
            (kept + added)[:MAX_URIS],
            notes.ended or self.after.ended,
        )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Notes).decode
_change = msgspec.msgpack.Decoder(_Change).decode


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
        self._me = token_bytes(8)
        self._heard_of = 0
        self._errands: set[asyncio.Task[None]] = set()

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
        mark, heard_of = _mark(session), self._heard_of
        try:
            kept = await self._cache.get(_key(mark))
            notes = _decode(kept) if kept is not None else NOTHING
        except (BusAway, msgspec.MsgspecError):
            notes = NOTHING
        known = self._known.get(session)
        if known is not None:
            return known  # It was changed here meanwhile.
        if heard_of == self._heard_of:
            self._remember(session, mark, notes)
        return notes

    async def put(self, session: bytes, before: Notes, after: Notes) -> None:
        """For every replica. Where nothing can be shared, for this worker.

        `before`: what `at_hand` gave just now, or else what `of` did: nothing was awaited since.
        """
        mark = _mark(session)
        self._remember(session, mark, after)
        self._unshared.add(session)
        try:
            await self._cache.put(_key(mark), _encode(after), TTL_S)
            self._unshared.discard(session)
            await self._bus.publish(TOPIC, _encode(_Change(self._me, mark, before, after)))
        except BusAway:
            self._tell(mark)

    def watch(self, session: bytes, changed: Callable[[], None]) -> Callable[[], None]:
        """Be told when there is something new in `of`, until what is returned is called. One watcher a session."""
        mark = _mark(session)
        self._watched[mark] = changed

        def leave() -> None:
            if self._watched.get(mark) is changed:
                del self._watched[mark]

        return leave

    def _heard(self, raw: bytes) -> None:
        try:
            change = _change(raw)
        except msgspec.MsgspecError:
            log.warning("a session's change cannot be read")
            return
        if change.by != self._me:
            self._made_elsewhere(change)
        self._tell(change.mark)

    def _made_elsewhere(self, change: _Change) -> None:
        self._heard_of += 1
        session = self._spelt.get(change.mark)
        if session is None:
            return
        merged = change.of(self._known[session])
        self._remember(session, change.mark, merged)
        if merged != change.after:
            # Changed here as well, at the same time: what is shared has one of the two.
            errand = asyncio.ensure_future(self._share(change.mark, merged))
            self._errands.add(errand)
            errand.add_done_callback(self._errands.discard)

    async def _share(self, mark: bytes, notes: Notes) -> None:
        with suppress(BusAway):
            await self._cache.put(_key(mark), _encode(notes), TTL_S)

    def _missed(self) -> None:
        """What was said elsewhere meanwhile is in the Cache; what could not be put there is here."""
        self._heard_of += 1
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
