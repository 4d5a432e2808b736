"""Which of several equal servers gets a request: spread by a rule, away from the sick, sessions where they began.

Pure: the caller brings the time.
"""

from collections import OrderedDict
from collections.abc import Collection, Hashable
from typing import Final, Generic, Literal, TypeVar

T = TypeVar("T")
Rule = Literal["round_robin", "weighted", "least_in_flight"]

FAILURES: Final = 3
"""In a row, after which a replica is left out."""
_FIRST_S, _LONGEST_S = 1.0, 60.0
_HOMES = 4096


class Replica(Generic[T]):
    """One of them, and how it does."""

    def __init__(self, one: T, url: str, weight: int) -> None:
        self.one = one
        self.url = url
        self.weight = weight
        self.in_flight = 0
        self.failures = 0
        self.ejections = 0
        """In a row: what the next one's length follows from."""
        self.ejected_until = 0.0
        self.owed = 0.0
        """Smooth weighted round robin: who is owed most is next."""


class Balance(Generic[T]):
    """Over the replicas of one server, at least one. Never are all left out: the last one serves, sick or not."""

    def __init__(self, replicas: "list[Replica[T]]", rule: Rule) -> None:
        self.replicas = replicas
        self._rule = rule
        self._homes: OrderedDict[Hashable, Replica[T]] = OrderedDict()

    def pick(self, now: float, *, home: Hashable | None = None, but: "Collection[Replica[T]]" = ()) -> "Replica[T]":
        """`home`: what must stay where it began, if it can. `but`: tried in vain, to be avoided."""
        fit = [r for r in self.replicas if r not in but and r.ejected_until <= now]
        fit = fit or [r for r in self.replicas if r not in but] or self.replicas
        known = self._homes.get(home) if home is not None else None
        if known is not None and known in fit:
            self._homes.move_to_end(home)
            return known
        return self._next(fit)

    def settle(self, home: Hashable, replica: "Replica[T]") -> None:
        """From here on it lives there. The one longest unused is forgotten beyond the cap."""
        self._homes[home] = replica
        self._homes.move_to_end(home)
        if len(self._homes) > _HOMES:
            self._homes.popitem(last=False)

    def _next(self, fit: "list[Replica[T]]") -> "Replica[T]":
        if self._rule == "least_in_flight":
            fewest = min(r.in_flight / r.weight for r in fit)
            fit = [r for r in fit if r.in_flight / r.weight == fewest]
        weights = [r.weight if self._rule == "weighted" else 1 for r in fit]
        for replica, weight in zip(fit, weights, strict=True):
            replica.owed += weight
        chosen = max(fit, key=lambda replica: replica.owed)
        chosen.owed -= sum(weights)
        return chosen

    def succeeded(self, replica: "Replica[T]") -> None:
        replica.failures = replica.ejections = 0
        replica.ejected_until = 0.0

    def failed(self, replica: "Replica[T]", now: float) -> None:
        """It did not answer, or not as a server does."""
        if replica.ejected_until > now:
            return  # Begun before it was left out, or because all others are: one sickness, counted once.
        replica.failures += 1
        others = any(r.ejected_until <= now for r in self.replicas if r is not replica)
        # Back from an ejection, the first failure ends the trial.
        if others and (replica.failures >= FAILURES or replica.ejections):
            replica.ejected_until = now + min(_FIRST_S * 2.0 ** min(replica.ejections, 16), _LONGEST_S)
            replica.ejections += 1
            replica.failures = 0

    def ejected(self, now: float) -> int:
        return sum(replica.ejected_until > now for replica in self.replicas)
