"""Servers kept under watch between two looks, so that a change of their lists is told at once."""

import asyncio
import logging
from collections.abc import Callable

from core.bound import Bound
from core.call import Interest, Notification, Route, Watchable
from core.errors import Unavailable

MAX_WATCHES = 2000
SETTLE_S = 0.1
"""From the first word of a change until it is told: servers often send several."""
BURST = 10
EACH_S = 2.0
"""A server that does nothing but change is told of so many times as fast as it does, then once in this time."""
AGAIN_S = (1.0, 300.0)
"""First and longest pause before a watch that was lost, or could not be had, is tried again."""

Changed = Callable[[str, str], None]
"""(tenant, server): its lists are others now. Never blocks."""
Key = tuple[str, str]

log = logging.getLogger("toolgate.watching")


class Watching:
    """One per node. `run` it in the node's task group: until then nothing is watched."""

    def __init__(self, *, settle_s: float = SETTLE_S, again_s: tuple[float, float] = AGAIN_S) -> None:
        self.changed: Changed = lambda _tenant, _server: None
        """Set by the composition root."""
        self.settle_s = settle_s
        self.again_s = again_s
        self._watches: dict[Key, _Watch] = {}
        self._refused = 0
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await asyncio.Event().wait()
        finally:
            self._tasks = None
            self._watches.clear()

    @property
    def bound(self) -> Bound:
        return Bound(len(self._watches), MAX_WATCHES, self._refused)

    def watched(self) -> list[Key]:
        """(tenant, server)"""
        return list(self._watches)

    async def arm(self, backend: object, route: Route, for_s: float, *, quiet_s: float = 0.0) -> None:
        """Watch the route's server from here on, or go on doing so, for so long.

        What happened before a watch began is unknown, so its beginning counts as a change; but not within `quiet_s`,
        which is waited for unless the server refuses: whoever looks afterwards sees it all.
        """
        key = (route.tenant, route.backend.server)
        watch = self._watches.get(key)
        if watch is not None and watch.reaches(route):
            watch.prolong(for_s)
            return
        if watch is not None:
            self.end(*key)
        if self._tasks is None or not isinstance(backend, Watchable):
            return
        if len(self._watches) >= MAX_WATCHES:
            self._refused += 1
            return
        watch = self._watches[key] = _Watch(backend, route, self)
        watch.prolong(for_s)
        watch.task = self._tasks.create_task(watch.run())
        if quiet_s:
            await watch.begun_within(quiet_s)

    def end(self, tenant: str, server: str) -> None:
        watch = self._watches.pop((tenant, server), None)
        if watch is not None and watch.task is not None:
            watch.task.cancel()

    def over(self, watch: "_Watch") -> None:
        if self._watches.get(watch.key) is watch:
            del self._watches[watch.key]


class _Watch:
    """One server, listened to until its time is over."""

    def __init__(self, backend: Watchable, route: Route, watching: Watching) -> None:
        self.key: Key = (route.tenant, route.backend.server)
        self.task: asyncio.Task[None] | None = None
        self._backend = backend
        self._route = route
        self._watching = watching
        self._loop = asyncio.get_running_loop()
        self._begun = asyncio.Event()
        self._quiet = False
        self._limit: asyncio.Timeout | None = None
        self._until = 0.0
        self._telling: asyncio.TimerHandle | None = None
        self._budget = float(BURST)
        self._budget_at = self._loop.time()

    def reaches(self, route: Route) -> bool:
        """Whether it listens to the same server in the same way."""
        mine, other = self._route.backend, route.backend
        how = (mine.transport, mine.era, mine.protocol_version, self._route.headers, self._route.env)
        return how == (other.transport, other.era, other.protocol_version, route.headers, route.env)

    def prolong(self, for_s: float) -> None:
        self._until = self._loop.time() + for_s
        if self._limit is not None:
            self._limit.reschedule(self._until)

    async def begun_within(self, quiet_s: float) -> None:
        self._quiet = True
        try:
            async with asyncio.timeout(quiet_s):
                await self._begun.wait()
        except TimeoutError:
            pass
        finally:
            self._quiet = False

    async def run(self) -> None:
        first_s, longest_s = self._watching.again_s
        pause_s = first_s
        try:
            async with asyncio.timeout_at(self._until) as self._limit:
                while True:
                    began_at = self._loop.time()
                    try:
                        await self._backend.watch(self._route, Interest(), self._heard, began=self._has_begun)
                    except Unavailable as lost:
                        log.info("%s/%s is not listened to: %s", *self.key, lost.detail or lost.public)
                    self._begun.set()  # Or will not for now: nobody waits for it.
                    if self._loop.time() - began_at > 10 * pause_s:  # It could be listened to.
                        pause_s = first_s
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, longest_s)
        except TimeoutError:
            pass
        except Exception:  # What one server sends must not end the watches of all: an edge.
            log.exception("%s/%s cannot be listened to", *self.key)
        finally:
            if self._telling is not None:
                self._telling.cancel()
                self._tell()
            self._watching.over(self)

    def _has_begun(self) -> None:
        if not self._quiet:
            self._notice()
        self._begun.set()

    def _heard(self, notification: Notification) -> None:
        if notification.method.endswith("/list_changed"):
            self._notice()

    def _notice(self) -> None:
        """Told after a moment, in which there may be more."""
        if self._telling is not None:
            return
        now = self._loop.time()
        self._budget = min(self._budget + (now - self._budget_at) / EACH_S, float(BURST)) - 1
        self._budget_at = now
        late_s = max(-self._budget, 0.0) * EACH_S
        self._telling = self._loop.call_later(self._watching.settle_s + late_s, self._tell)

    def _tell(self) -> None:
        self._telling = None
        self._watching.changed(*self.key)
