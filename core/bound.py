"""How full something with a cap is, and how often the cap was met: one shape for every pool, queue, cache and table."""

from collections.abc import Hashable

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


SHARE = 4
"""One caller may have a fourth of what has a cap: whoever takes without end shuts nobody out but itself."""


class Shares:
    """Who has how many of something with a cap. A caller is known by any name that is its own; empty: nobody's."""

    __slots__ = ("_most", "_of")

    def __init__(self, cap: int) -> None:
        self._most = max(1, cap // SHARE)
        self._of: dict[Hashable, int] = {}

    def full(self, caller: Hashable) -> bool:
        """Whether it has all that it may have."""
        return bool(caller) and self._of.get(caller, 0) >= self._most

    def take(self, caller: Hashable) -> None:
        self._of[caller] = self._of.get(caller, 0) + 1

    def give(self, caller: Hashable) -> None:
        left = self._of.pop(caller) - 1
        if left:
            self._of[caller] = left


class Room(msgspec.Struct, frozen=True):
    """How much more of some work fits, and how much of it may be one tenant's."""

    total: int
    of_one: int
    taken: dict[str, int] = {}
    """By tenant, what is under way already: it counts towards its share."""


class Kept(msgspec.Struct, frozen=True):
    """What a `what` of `toolgate_held` stands for, in words: a row of docs/metrics.md."""

    what: str
    holds: str
    cap: str
    """As it is set, with the unit where it is not a number of things."""
    full: str
    """What happens at the cap."""
    expires: str
