"""Work that is due, claimed a few at a time for as long as the plane serves. Replicas share it.

Each claim is a task of its own: a slow one keeps no other waiting, and those of one tenant no other tenant's.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from core.admin import Rejected
from core.bound import SHARE, Bound, Room

PAUSE_S: Final = 5.0
"""After a claim that failed."""

log = logging.getLogger("toolgate.rounds")


class Errand(Protocol):
    """What is claimed."""

    @property
    def tenant(self) -> str: ...


T = TypeVar("T", bound=Errand)


class Rounds(Generic[T]):
    """`run` it as a task; `wake` it when something may be due."""

    def __init__(
        self,
        what: str,
        claim: Callable[[Room], Awaitable[Sequence[T]]],
        one: Callable[[T], Awaitable[object]],
        *,
        named: Callable[[T], str],
        at_once: int,
        tick_s: float,
        pause_s: float = PAUSE_S,
    ) -> None:
        """`claim`: some that are due, as many as fit. `one`: does one; True: there is more of the same already.

        `what`: as the log calls it. `tick_s`: how long something may be due before it is looked for.
        """
        self._claim = claim
        self._one = one
        self._named = named
        self._at_once = at_once
        self._tick_s = tick_s
        self._pause_s = pause_s
        self._what = what
        self._wake = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._held_back = False
        """Something may be due that had no room."""
        self._full = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._under_way), self._at_once, self._full)

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """For ever; what is under way when it ends is cancelled, and over."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self.look()
                except Rejected as away:
                    log.warning("%s: none are claimed: %s", self._what, away.public)
                    await asyncio.sleep(self._pause_s)
                except Exception:  # Such as a declaration that a newer replica wrote: an edge.
                    log.exception("%s: none can be claimed", self._what)
                    await asyncio.sleep(self._pause_s)
                try:
                    async with asyncio.timeout(self._tick_s):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            ending = list(self._under_way)
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def look(self) -> list[asyncio.Task[None]]:
        """Begin those that are due, as far as there is room. Raises what claiming them does."""
        taken = Counter(self._under_way.values())
        of_one = max(1, self._at_once // SHARE)
        room = self._at_once - len(self._under_way)
        claimed = await self._claim(Room(room, of_one, dict(taken))) if room > 0 else []
        if len(claimed) >= room:
            self._full += 1
        taken.update(due.tenant for due in claimed)
        self._held_back = len(claimed) >= room or max(taken.values(), default=0) >= of_one
        begun = []
        for due in claimed:
            task = asyncio.create_task(self._do(due))
            self._under_way[task] = due.tenant
            task.add_done_callback(self._done)
            begun.append(task)
        return begun

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task)
        if self._held_back:
            self._wake.set()

    async def _do(self, due: T) -> None:
        try:
            if await self._one(due) is True:
                self._wake.set()
        except Rejected as away:
            log.warning("%s: %s/%s waits: %s", self._what, due.tenant, self._named(due), away.public)
        except Exception:  # What goes wrong with one must not end the others: an edge.
            log.exception("%s: %s/%s failed", self._what, due.tenant, self._named(due))
