"""What grows is cut back, now and then. Any replica may do it, and several do no harm."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping

from core.admin import Rejected

FIRST_S = 60.0
"""A replica that is restarted every half an hour keeps house too."""
EVERY_S = 3600.0

Chore = Callable[[], Awaitable[int]]
"""How many rows it removed. Raises Rejected while the database is away."""

log = logging.getLogger("toolgate.housekeeping")


class Housekeeping:
    """Does all chores soon after the start, then every hour. `run` it as a task."""

    def __init__(
        self, chores: Mapping[str, Chore], *, wait: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._chores = chores
        self._wait = wait
        self.removed = dict.fromkeys(chores, 0)
        self.failed = dict.fromkeys(chores, 0)

    async def run(self) -> None:
        """For ever."""
        for pause_s in pauses():
            await self._wait(pause_s)
            for name in self._chores:
                await self._do(name)

    async def _do(self, name: str) -> None:
        try:
            removed = await self._chores[name]()
        except Rejected as away:
            self.failed[name] += 1
            log.warning("housekeeping: %s not cut back this time: %s", name, away.public)
        except Exception:
            self.failed[name] += 1
            log.exception("housekeeping: %s not cut back this time", name)
        else:
            self.removed[name] += removed
            log.info("housekeeping: %s: %d removed", name, removed)


def pauses() -> Iterator[float]:
    """Each a little shorter or longer, so that replicas started together do not all come at once."""
    yield FIRST_S * _between(0.5, 1.5)
    while True:
        yield EVERY_S * _between(0.9, 1.1)


def _between(low: float, high: float) -> float:
    return low + (high - low) * secrets.randbelow(1000) / 1000
