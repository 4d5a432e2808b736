"""How much a caller may use: limits as declared, the token bucket, and the port to shared counters."""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, Protocol

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
    """Globs over exposed tool names the limit is for. Only with `*` among them it is for prompts and resources too."""
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
    """Tokens handed out of a bucket. Fewer than wanted: `retry_after_s` says when one more will be there."""

    tokens: int
    retry_after_s: float = 0.0


class CountersAway(Exception):
    """The counters cannot be reached or did not answer in time."""


class Counters(Protocol):
    """Buckets of tokens, shared by whoever uses the same counters. Keys are made by `counter_key`."""

    async def take(self, key: str, bucket: Bucket, want: int) -> Grant:
        """Up to `want` (at least 1) tokens, as many as there are. Raises CountersAway."""
        ...

    async def give_back(self, key: str, bucket: Bucket, tokens: int) -> None:
        """Return unspent tokens; never above `burst`. Best effort: raises nothing."""
        ...


class Level(NamedTuple):
    """How full a bucket was, and when (seconds on the clock of who counts)."""

    tokens: float
    at_s: float


_ROUNDING = 1e-9
"""Ten tenths of a token are a token, whatever binary fractions say."""


def refill(level: Level | None, bucket: Bucket, now_s: float) -> float:
    """Tokens in the bucket now. None: a bucket never used, so full. A clock that went backwards adds nothing."""
    if level is None:
        return float(bucket.burst)
    return min(float(bucket.burst), level.tokens + max(0.0, now_s - level.at_s) * bucket.rate_per_s)


def take(level: Level | None, bucket: Bucket, want: int, now_s: float) -> tuple[Level, Grant]:
    """Up to `want` whole tokens, and the level left. Short of `want`, the grant says when one more will be there."""
    there = refill(level, bucket, now_s)
    tokens = min(want, int(there + _ROUNDING))
    left = max(0.0, there - tokens)
    wait = 0.0 if tokens == want else (1.0 - min(left, 1.0)) / bucket.rate_per_s
    return Level(left, now_s if level is None else max(now_s, level.at_s)), Grant(tokens, wait)


def put_back(level: Level, bucket: Bucket, tokens: int, now_s: float) -> Level:
    """The level with unspent tokens returned."""
    there = refill(level, bucket, now_s)
    return Level(min(float(bucket.burst), there + tokens), max(now_s, level.at_s))


def full_in_s(level: Level, bucket: Bucket, now_s: float) -> float:
    """When the bucket will be full, that is as if never used, and may be forgotten."""
    return (bucket.burst - refill(level, bucket, now_s)) / bucket.rate_per_s


Scope = Literal["node", "fleet"]
OnError = Literal["allow", "deny", "local"]

_CODES: dict[tuple[Scope, OnError], str] = {
    (scope, on_error): scope[0] + on_error[0] for scope in ("node", "fleet") for on_error in ("allow", "deny", "local")
}
_MEANINGS = {code: meaning for meaning, code in _CODES.items()}


def counter_key(scope: Scope, on_error: OnError, tenant: str, limit: str, values: Iterable[str]) -> str:
    """A bucket's key: two letters for scope and on_error, a colon, the bucket's name.

    Every value carries its length, so no value can be made to read as two.
    """
    named = "".join(f"/{len(value)}:{value}" for value in values)
    return f"{_CODES[scope, on_error]}:{tenant}/{limit}{named}"


def read_key(key: str) -> tuple[Scope, OnError, str]:
    """Scope, on_error and the bucket's name. A key of no known form is a fleet's, counted locally on error."""
    code, _, name = key.partition(":")
    meaning = _MEANINGS.get(code)
    return (*meaning, name) if meaning else ("fleet", "local", key)
