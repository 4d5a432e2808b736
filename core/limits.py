"""How much a caller may use: limits as declared, the token bucket, and the port to shared counters."""

from collections.abc import Iterator
from typing import Literal, Protocol

import msgspec

from core.resource import Problem, Ref

Dimension = Literal["tenant", "user", "agent", "caller", "endpoint", "server", "tool"]


class RateLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A token bucket per combination of dimensions: `calls` per `period_s`, at most `burst` at once."""

    calls: int
    period_s: float = 60.0
    burst: int = 0
    """0: the same as `calls`."""
    per: list[Dimension] = msgspec.field(default_factory=lambda: ["caller"])
    tools: list[str] = msgspec.field(default_factory=lambda: ["*"])
    """Globs over exposed tool names the limit is for."""
    endpoints: list[str] = msgspec.field(default_factory=lambda: ["*"])
    scope: Literal["node", "fleet"] = "fleet"
    """`fleet`: all gateways share one bucket through Redis. `node`: a bucket per gateway."""
    on_error: Literal["allow", "deny", "local"] = "local"
    """When the shared counters are away: let pass, refuse, or count on this node alone."""
    disabled: bool = False

    def problems(self) -> Iterator[Problem]:
        if self.calls < 1:
            yield Problem("spec.calls", "must be at least 1")
        if not 0.1 <= self.period_s <= 86400 * 31:
            yield Problem("spec.period_s", "must be 0.1 s to 31 days")
        if self.burst < 0:
            yield Problem("spec.burst", "must not be negative")
        if not self.per:
            yield Problem("spec.per", "must name at least one of tenant, user, agent, caller, endpoint, server, tool")

    def references(self) -> Iterator[tuple[str, Ref]]:
        yield from ()


class Bucket(msgspec.Struct, frozen=True):
    """The arithmetic of a limit: tokens come back at `rate_per_s` up to `burst`."""

    rate_per_s: float
    burst: int


class Grant(msgspec.Struct, frozen=True):
    """Tokens handed out of a bucket. With none, `retry_after_s` says when one will be there."""

    tokens: int
    retry_after_s: float = 0.0


class CountersAway(Exception):
    """The counters cannot be reached or did not answer in time."""


class Counters(Protocol):
    """Buckets of tokens, shared by whoever uses the same counters. Keys read `tenant/limit/dimension values`."""

    async def take(self, key: str, bucket: Bucket, want: int) -> Grant:
        """Up to `want` (at least 1) tokens, as many as there are. Raises CountersAway."""
        ...

    async def give_back(self, key: str, bucket: Bucket, tokens: int) -> None:
        """Return unspent tokens; never above `burst`. Best effort: raises nothing."""
        ...
