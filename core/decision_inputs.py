"""What policies were asked and for whom: kept for a while, so that a candidate can be tried on what really happened."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

MARK_BYTES = 16


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """One input on one day by one caller, and how often."""

    tenant: str
    day: int
    """Days since 1970-01-01, UTC."""
    mark: bytes
    """Digest of the input."""
    caller: str
    """"user/agent"."""
    calls: int
    allowed: int
    """How many of them the policy in force let pass."""
    differed: int = 0
    """Of how many a policy on trial thought otherwise."""
    shadow: str = ""
    """What it thought last: "deny", or "allow" and the obligations."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """An input with who asked it over a span of days. `input` is JSON; None: it was lost, or there was no room."""

    input: bytes | None
    caller: str
    calls: int
    allowed: int
    differed: int = 0
    shadow: str = ""


class DecisionInputs(Protocol):
    """Where they are kept, within bounds per tenant. Raises Rejected(UNAVAILABLE) while that is away."""

    async def note(self, askings: Sequence[Asking], inputs: dict[tuple[str, bytes], bytes]) -> int:
        """Add up. `inputs`: (tenant, mark) to JSON of those not known to be kept. How many there was no room for."""
        ...

    def window(self, tenant: str, since_day: int, limit: int) -> AsyncIterator[list[Recorded]]:
        """The `limit` most frequent since that day, some at a time; rows of one input come one after another.

        Nothing is held between two pieces, however long the caller takes.
        """
        ...

    async def differences(self, tenant: str, since_day: int, limit: int) -> list[Recorded]:
        """As `window`, of those a policy on trial decided otherwise."""
        ...

    async def prune(self, tenant: str, before_day: int) -> int:
        """Forget what is older; how many rows."""
        ...

    async def tenants(self) -> list[str]:
        """Of whom anything is kept."""
        ...
