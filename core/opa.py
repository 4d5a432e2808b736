"""What sidecars tell the control plane of themselves and of what they decided, and the port to where it is kept."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

SIDECARS_MAX: Final = 200
"""Of a tenant; those not heard of for the longest time are forgotten."""
ID_CHARS: Final = 128
TEXT_CHARS: Final = 1000
REASONS_MAX: Final = 64


class SidecarState(msgspec.Struct, frozen=True, kw_only=True):
    """One OPA, as it says itself."""

    tenant: str
    id: str
    version: str = ""
    revision: str = ""
    """Of the rules it decides by; empty: it has none."""
    problem: str = ""
    """Why it did not take the newest ones; empty: it did."""
    seen_unix: float = 0.0
    decisions: int = 0
    denied: int = 0
    failed: int = 0
    """Decisions that came out neither way."""


class SidecarDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an OPA's decision log, less what was asked: gateways' own records hold what of that is to be kept."""

    id: str
    at_unix: float
    revision: str
    path: str
    allowed: bool | None
    """None: it came out neither way."""
    reasons: tuple[str, ...] = ()


class SidecarBook(Protocol):
    """Raises Rejected(UNAVAILABLE) while it is away."""

    async def state(self, state: SidecarState) -> None:
        """Keep what a sidecar says of itself; its counts go on."""
        ...

    async def decided(self, tenant: str, sidecar: str, decisions: Sequence[SidecarDecision], now: float) -> int:
        """Keep and count these; one that is known already is not counted again. How many were new."""
        ...

    async def sidecars(self, tenant: str) -> list[SidecarState]:
        """By id."""
        ...

    async def decisions(self, tenant: str, limit: int) -> list[tuple[str, SidecarDecision]]:
        """(sidecar, decision), the newest first."""
        ...

    async def prune(self, before_unix: float) -> int:
        """Forget what is older; how many rows."""
        ...
