"""Tenants that wait for something of ours, such as a missing `opa`: tried again, later and later."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

FIRST_S = 5.0
LONGEST_S = 300.0
CHEAP_S = 5.0
"""Between tries that cost next to nothing."""


class Try(NamedTuple):
    """The next one: how many have failed before it, and when it is due by the clock."""

    failed: int
    at: float


class Retries:
    """Who is to be tried again, and when. Each pause is twice the one before, up to the longest."""

    def __init__(
        self, *, first_s: float = FIRST_S, longest_s: float = LONGEST_S, clock: Callable[[], float] = time.time
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._clock = clock
        self._next: dict[str, Try] = {}
        self._changed = asyncio.Event()

    def later(self, tenant: str, *, cheap: bool = False) -> Try:
        """It failed: try it again after a while. Failing of a change meanwhile postpones nothing."""
        last = self._next.get(tenant)
        if last is not None and self._clock() < last.at < float("inf"):
            return last
        failed = last.failed + 1 if last is not None else 1
        pause_s = min(CHEAP_S if cheap else self._longest_s, self._first_s * float(1 << min(failed - 1, 20)))
        self._next[tenant] = Try(failed, self._clock() + pause_s)
        self._changed.set()
        return self._next[tenant]

    def settled(self, tenant: str) -> None:
        self._next.pop(tenant, None)

    async def due(self) -> list[str]:
        """Waits until some are; they are not due again before they fail again."""
        while True:
            now = self._clock()
            found = [tenant for tenant, (_, at) in self._next.items() if at <= now]
            if found:
                self._next.update({tenant: self._next[tenant]._replace(at=float("inf")) for tenant in found})
                return found
            self._changed.clear()
            soonest = min((at for _, at in self._next.values()), default=float("inf"))
            try:
                async with asyncio.timeout(None if soonest == float("inf") else soonest - now):
                    await self._changed.wait()
            except TimeoutError:
                continue
