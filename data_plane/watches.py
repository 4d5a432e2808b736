"""What agents want to be told of servers: one stream to each server, however many listen.

A stream that is lost is opened again, with back-off; what may have changed meanwhile is told as changed.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from core.bound import SHARE, Bound, Shares
from core.call import Interest, Notification, Notify, Route, Watchable
from core.errors import Reason, Refused, Unavailable

log = logging.getLogger("toolgate.watches")

MAX_WATCHES: Final = 512
"""Servers watched by one worker at once; more are not, and are counted."""
MAX_WANTED: Final = 4096
"""Resources and tasks asked for of one server."""
MAX_WISHES: Final = 65_536
"""Of one worker: how often resources and tasks are listened to, the same ones by several included."""
SETTLE_S: Final = 0.02
"""What is asked for within this is asked for in one request."""
BACK_OFF_S: Final = (0.5, 30.0)
LONG_S: Final = 3600.0

UPDATED: Final = "notifications/resources/updated"
TASK: Final = "notifications/tasks"

Key = tuple[str, str, object]
Leave = Callable[[], None]


class _Subject(msgspec.Struct):
    uri: str = ""
    task_id: str = msgspec.field(name="taskId", default="")


_subject = msgspec.json.Decoder(_Subject).decode


class Wish(msgspec.Struct, frozen=True):
    """One resource or task of a server, as the server spells it."""

    method: str
    """`notifications/resources/updated` or `notifications/tasks`."""
    subject: str


class Watches:
    """One per worker."""

    def __init__(self, backends: Mapping[type, object]) -> None:
        """`backends`: transport to what speaks it; those that are Watchable can be watched."""
        self._backends = backends
        self._watches: dict[Key, _Watch] = {}
        self._wishes = 0
        self._shares = Shares(MAX_WISHES)
        self.refused = self.refused_wishes = 0
        """Servers, and wishes, beyond a cap."""

    def __len__(self) -> int:
        return len(self._watches)

    @property
    def bound(self) -> Bound:
        return Bound(len(self._watches), MAX_WATCHES, self.refused)

    @property
    def wishes(self) -> Bound:
        return Bound(self._wishes, MAX_WISHES, self.refused_wishes)

    def join(self, route: Route, wish: Wish, tell: Notify, began: Callable[[], None], principal: str = "") -> Leave:
        """Be told of a wish until what is returned is called. `began`: the server listens, or will not for now.

        Raises Unavailable(OVERLOADED) at a cap, or at the share that `principal` may have of it.
        """
        if self._wishes >= MAX_WISHES or self._shares.full(principal):
            raise self._full("Too many resources and tasks are listened to.")
        leave = self._joined(route, wish, tell, began, principal)
        self._wishes += 1
        self._shares.take(principal)
        left = False

        def leave_once() -> None:
            nonlocal left
            if not left:
                left = True
                self._wishes -= 1
                self._shares.give(principal)
                leave()

        return leave_once

    def _joined(self, route: Route, wish: Wish, tell: Notify, began: Callable[[], None], principal: str) -> Leave:
        key = (route.tenant, route.backend.server, (route.headers, route.env))
        watch = self._watches.get(key)
        if watch is None:
            backend = self._backends.get(type(route.backend.transport))
            if not isinstance(backend, Watchable):
                self.refused += 1
                began()
                return _stay
            if len(self._watches) >= MAX_WATCHES:
                self.refused += 1
                raise Unavailable(Reason.OVERLOADED, "Too many servers are listened to.", retry_after_s=5)
            watch = self._watches[key] = _Watch(backend, lambda: self._watches.pop(key, None))
        if watch.full(wish, principal):
            raise self._full("Too many resources and tasks of one server are listened to.")
        return watch.join(route, wish, tell, began, principal)

    def _full(self, public: str) -> Unavailable:
        self.refused_wishes += 1
        return Unavailable(Reason.OVERLOADED, public, retry_after_s=5)

    async def close(self) -> None:
        closing = [watch.close() for watch in list(self._watches.values())]
        self._watches.clear()
        await asyncio.gather(*closing)


class _Watch:
    """Of one server with one credential."""

    def __init__(self, backend: Watchable, over: Callable[[], object]) -> None:
        self._backend = backend
        self._over = over
        self._told: dict[Wish, dict[object, Notify]] = {}
        self._route: Route | None = None
        self._changed = asyncio.Event()
        self._begun: frozenset[Wish] = frozenset()
        self._waiting: list[tuple[Wish, Callable[[], None]]] = []
        self._of: dict[str, Counter[Wish]] = {}
        """Wishes by whose they are."""
        self._task = asyncio.ensure_future(self._run())

    def full(self, wish: Wish, principal: str) -> bool:
        """Whether there is room for one more wish, and in what its caller may have."""
        mine = self._of.get(principal, ()) if principal else (wish,)
        return (wish not in self._told and len(self._told) >= MAX_WANTED) or (
            wish not in mine and len(mine) >= MAX_WANTED // SHARE
        )

    def join(self, route: Route, wish: Wish, tell: Notify, began: Callable[[], None], principal: str) -> Leave:
        mark = object()
        self._of.setdefault(principal, Counter())[wish] += 1
        self._route = route
        self._told.setdefault(wish, {})[mark] = tell
        waiting = wish, began
        if wish in self._begun:
            began()
        else:
            self._waiting.append(waiting)
            self._changed.set()

        def leave() -> None:
            if any(one is waiting for one in self._waiting):
                self._waiting = [one for one in self._waiting if one is not waiting]
                began()
            mine = self._of[principal]
            mine[wish] -= 1
            if not mine[wish]:
                del mine[wish]
            if not mine:
                del self._of[principal]
            listening = self._told.get(wish, {})
            if listening.pop(mark, None) is not None and not listening:
                del self._told[wish]
                self._changed.set()

        return leave

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        """Listen as long as anything is wanted; when that changes, a new stream is open before the old one ends."""
        listening: asyncio.Task[None] | None = None
        pause_s = BACK_OFF_S[0]
        try:
            while True:
                await asyncio.sleep(SETTLE_S)
                self._changed.clear()
                if not self._told:
                    return
                wishes, lost = frozenset(self._told), listening is not None and listening.done()
                began = asyncio.Event()
                fresh = asyncio.ensure_future(self._listen(wishes, began))
                await _first(fresh, began)
                if listening is not None:
                    listening.cancel()
                listening = fresh
                self._settle(wishes if not fresh.done() else frozenset(), told=lost or pause_s > BACK_OFF_S[0])
                if fresh.done():
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, BACK_OFF_S[1])
                else:
                    pause_s = BACK_OFF_S[0]
                    await _first(fresh, self._changed)
        finally:
            if listening is not None:
                listening.cancel()
            self._settle(frozenset(), told=False)
            self._over()

    async def _listen(self, wishes: frozenset[Wish], began: asyncio.Event) -> None:
        assert self._route is not None
        interest = Interest(
            lists=False,
            resources=tuple(sorted(wish.subject for wish in wishes if wish.method == UPDATED)),
            tasks=tuple(sorted(wish.subject for wish in wishes if wish.method == TASK)),
        )
        route = msgspec.structs.replace(self._route, deadline_s=LONG_S)
        try:
            await self._backend.watch(route, interest, self._heard, began=began.set)
        except (Unavailable, Refused) as failure:
            log.info("%s of %s is not watched: %s", route.backend.server, route.tenant, failure)

    def _settle(self, begun: frozenset[Wish], *, told: bool) -> None:
        """Those who wait are told that it began, or that it did not; after a gap, everything may have changed."""
        self._begun = begun
        waiting, self._waiting = self._waiting, []
        for wish, began in waiting:
            if wish in begun or not begun:
                began()
            else:
                self._waiting.append((wish, began))
        for wish in begun if told else ():
            member = "uri" if wish.method == UPDATED else ""
            if member:
                self._spread(wish, Notification(UPDATED, msgspec.json.encode({member: wish.subject})))

    def _heard(self, notification: Notification) -> None:
        try:
            subject = _subject(notification.params)
        except msgspec.DecodeError:
            return
        if notification.method == TASK:
            self._spread(Wish(TASK, subject.task_id), notification)
            return
        if notification.method != UPDATED:
            return
        for wish in list(self._told):
            # A server may name a part of what was subscribed to.
            if wish.method == UPDATED and (
                wish.subject == subject.uri or subject.uri.startswith(wish.subject.rstrip("/") + "/")
            ):
                self._spread(wish, notification)

    def _spread(self, wish: Wish, notification: Notification) -> None:
        for tell in list(self._told.get(wish, {}).values()):
            tell(notification)


async def _first(task: "asyncio.Task[None]", event: asyncio.Event) -> None:
    """Until the task ended or the event is set."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _stay() -> None:
    """Nothing was joined."""
