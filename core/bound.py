"""How full something with a cap is, and how often the cap was met: one shape for every pool, queue, cache and table."""

import msgspec


class Bound(msgspec.Struct, frozen=True, array_like=True):
    """Figures of one kind of thing in one process, at one moment."""

    held: int
    cap: int
    hits: int = 0
    """How often the cap was met since the process began: something was refused, dropped, or let go to make room."""


class Hits:
    """Counts caps met. Shared by all the pools of a kind, so that the count outlives each of them."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Kept(msgspec.Struct, frozen=True):
    """What a `what` of `toolgate_held` stands for, in words: a row of docs/metrics.md."""

    what: str
    holds: str
    cap: str
    """As it is set, with the unit where it is not a number of things."""
    full: str
    """What happens at the cap."""
    expires: str
