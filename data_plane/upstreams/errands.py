"""What is sent without anyone waiting for it: cancellations, refusals, ends of sessions."""

import asyncio
from collections.abc import Coroutine

from core.bound import Bound
from core.errors import Unavailable

_MAX = 1024
_EACH_S = 5.0


class Errands:
    """Tasks kept, capped and bounded in time. Failure of one is nobody's problem: its addressee is gone or lost."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self._dropped = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._running), _MAX, self._dropped)

    def run(self, errand: Coroutine[None, None, object]) -> None:
        """Beyond the cap it is dropped: all of them are courtesies."""
        if len(self._running) >= _MAX:
            errand.close()
            self._dropped += 1
            return
        task = asyncio.get_running_loop().create_task(_bounded(errand))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self, wait_s: float = 1.0) -> None:
        """Let them finish for a moment, then end them."""
        if self._running:
            await asyncio.wait(self._running, timeout=wait_s)
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


async def _bounded(errand: Coroutine[None, None, object]) -> None:
    try:
        async with asyncio.timeout(_EACH_S):
            await errand
    except (Unavailable, TimeoutError):
        return
