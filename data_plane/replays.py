"""Proofs of possession that were used (RFC 9449, section 11.1): on a node each counts once."""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final

from core.bound import Bound
from core.dpop import WINDOW_S

PROOFS_MAX: Final = 200_000
"""Some 2,200 proofs a second; without room a proof is refused, since nobody could tell whether it comes again."""


class Replays:
    """One per node: its supervisor has it, and workers ask."""

    def __init__(self, most: int = PROOFS_MAX, clock: Callable[[], float] = monotonic) -> None:
        self._most = most
        self._clock = clock
        self._used: OrderedDict[bytes, float] = OrderedDict()
        """Until when; in the order of that."""
        self._full = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._used), self._most, self._full)

    def first(self, mark: bytes) -> bool | None:
        """Whether a proof is used for the first time; None: there is no room to remember it."""
        now = self._clock()
        while self._used and self._used[oldest := next(iter(self._used))] <= now:
            del self._used[oldest]
        if mark in self._used:
            return False
        if len(self._used) >= self._most:
            self._full += 1
            return None
        self._used[mark] = now + WINDOW_S
        return True
