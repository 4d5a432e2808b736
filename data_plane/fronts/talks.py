"""All conversations on connections of one worker: who may begin one, and when they all have to go."""

import os
from collections.abc import Callable
from time import monotonic_ns
from typing import Final

import msgspec

from core.bound import Bound, Shares
from core.call import Inbound
from core.errors import Reason, Refused, Unavailable
from core.mcp import results
from core.mcp.revisions import MODERN
from data_plane.fronts.exchange import MAX_QUEUED_BYTES
from data_plane.fronts.party import Line, Party
from data_plane.fronts.reply import Handle
from data_plane.fronts.talk import Talk
from data_plane.streams import Streams

MAX_TALKS: Final = 10_000


class _Place(msgspec.Struct):
    max_body_bytes: int


class Talks:
    """`Desk`. One per worker."""

    def __init__(
        self,
        handle: Handle,
        streams: Streams,
        *,
        version: str,
        max_bytes: int,
        quiet_s: float = 15.0,
        cap: int = MAX_TALKS,
    ) -> None:
        """`max_bytes`: hard cap of a message, whatever an endpoint allows. `quiet_s`: a connection on which nothing
        was said for so long is kept alive."""
        self.handle = handle
        self.streams = streams
        self.server_info = results.server_info(version)
        self.quiet_s = quiet_s
        self._max_bytes = max_bytes
        self._cap = cap
        self._talks: dict[Talk, tuple[str, Callable[[], None]]] = {}
        """Whose each is, and how its door is closed."""
        self._shares = Shares(cap)
        self._refused = self._slow = 0
        self._serial = 0
        self._prefix = os.urandom(8).hex()
        self._leaving = False

    def bounds(self) -> dict[str, Bound]:
        """`talk_bytes`: of the client that leaves most unread."""
        most = max((talk.queued_bytes for talk in self._talks), default=0)
        return {
            "talks": Bound(len(self._talks), self._cap, self._refused),
            "talk_bytes": Bound(most, MAX_QUEUED_BYTES, self._slow),
        }

    @property
    def in_flight(self) -> int:
        """Requests in the pipeline now."""
        return sum(talk.in_flight for talk in self._talks)

    def next_id(self) -> str:
        self._serial += 1
        return f"{self._prefix}-{self._serial:x}"

    async def admit(self, party: Party) -> Talk:
        """Whoever is admitted has to be `attend`ed. Raises Refused, Unavailable."""
        if self._leaving or len(self._talks) >= self._cap:
            raise self._full()
        inbound = self.connecting(party)
        result = await self.handle(inbound)
        assert result.opening is not None
        # Whose the credential is was not proven before; and others came meanwhile.
        if len(self._talks) >= self._cap or self._shares.full(result.opening.principal):
            raise self._full()
        allowed = msgspec.json.decode(result.result, type=_Place).max_body_bytes
        talk = Talk(self, party, min(self._max_bytes, allowed))
        # It hears of nothing, but of the moment from which it may not be here any more.
        door = self.streams.open(inbound, result.opening, lambda _: None, talk.depart)
        self._talks[talk] = result.opening.principal, door.close
        self._shares.take(result.opening.principal)
        return talk

    def _full(self) -> Unavailable:
        self._refused += 1
        return Unavailable(Reason.OVERLOADED, "Too many conversations are open here.", retry_after_s=1)

    async def attend(self, talk: Talk, line: Line) -> None:
        """Until the conversation is over; `talk.end` says why."""
        try:
            await talk.run(line)
            self._slow += talk.end == "slow"
        finally:
            self.forget(talk)

    def forget(self, talk: Talk) -> None:
        """One that was admitted, and came to nothing or to its end."""
        principal, close = self._talks.pop(talk, ("", None))
        if close is not None:
            close()
            self._shares.give(principal)

    async def expelled(self, party: Party) -> bool:
        if self._leaving:
            return False
        try:
            await self.handle(self.connecting(party))
        except Refused:
            return True
        except Unavailable:
            return False
        return False

    def depart(self) -> None:
        """The worker is leaving: all finish what is under way, and go."""
        self._leaving = True
        for talk in list(self._talks):
            talk.depart()

    def abandon(self) -> None:
        """The time to finish is over."""
        self._leaving = True
        for talk in list(self._talks):
            talk.abandon()

    def connecting(self, party: Party) -> Inbound:
        """The request to be let in, as the pipeline takes it."""
        inbound = Inbound(
            id=self.next_id(),
            tenant=party.place.tenant,
            endpoint=party.place.endpoint,
            transport=party.transport,
            era="modern",
            revision=MODERN[0],
            method="connect",
            credential=party.credential,
            received_ns=monotonic_ns(),
        )
        return party.told(inbound)
