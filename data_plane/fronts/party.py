"""Who is at the other end of a connection, and the connection as a conversation on it needs it."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from core.call import Inbound
from core.certificate import Shown
from core.dpop import Possession
from data_plane.fronts.address import Address


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """Who is at the other end, and where it came in."""

    place: Address
    transport: str
    credential: bytes
    origin: str = ""
    host: str = ""
    client_address: str = ""
    shown: Shown | None = None
    possession: Possession | None = None
    """Of what it began with; for all that follows."""

    @property
    def evidence(self) -> bytes:
        """What only this party can prove itself with."""
        return self.credential or (self.shown.mark if self.shown is not None else b"")

    def told(self, inbound: Inbound) -> Inbound:
        """With what is so of every message of this party."""
        inbound.transport, inbound.server = self.transport, self.place.server
        inbound.possession = self.possession
        inbound.credential, inbound.origin, inbound.host = self.credential, self.origin, self.host
        inbound.client_address, inbound.shown = self.client_address, self.shown
        return inbound


class Line(Protocol):
    """The connection, as far as a conversation needs it."""

    async def say(self, messages: Sequence[bytes]) -> None:
        """Returns when there may be more. Raises OSError once the client is gone."""
        ...

    async def beat(self) -> None:
        """Nothing was said for a while: keep the connection alive, or find that it is not. Raises OSError."""
        ...
