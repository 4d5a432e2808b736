"""What came of calls that waited for an approval: made to their end whoever asks, and kept for whoever asks again."""

import asyncio
from collections.abc import Coroutine
from typing import Final

from core.bound import Bound
from core.bus import Cache
from core.call import Result
from core.errors import Reason, Unavailable

CAP: Final = 1000


class Kept:
    """One per worker, over the Cache that all replicas share."""

    def __init__(self, cache: Cache) -> None:
        self.put = cache.put
        self.get = cache.get
        self._running: set[asyncio.Task[Result]] = set()
        self._refused = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._running), CAP, self._refused)

    async def finish(self, made: Coroutine[None, None, Result]) -> Result:
        """Its result. Who stops waiting leaves it running: its approval is used. Raises Unavailable(OVERLOADED)."""
        if len(self._running) >= CAP:
            made.close()
            self._refused += 1
            raise Unavailable(Reason.OVERLOADED, "Too many approved calls are being made here.", retry_after_s=3)
        task = asyncio.ensure_future(made)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)
