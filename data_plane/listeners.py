"""Agents that listen: told of changed lists when a snapshot changes what they see, ended when they have no right to it.

A list changes for everybody at the moment it is served, on every replica, without a message between them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Final

import msgspec

from core.bound import Bound, Shares
from core.call import Notification, Notify, Subject
from core.errors import Reason, Unavailable
from data_plane.snapshots import TenantSnapshot

MAX_LISTENERS: Final = 20_000
"""Of one worker."""
AT_ONCE: Final = 200
"""Listeners told before other work of the loop gets its turn."""
SETTLE_S: Final = 0.15
"""Between a change and its being told: whoever hears of it asks at once, and maybe another replica, which is to have
the same snapshot by then."""
SWEEP_S: Final = 10.0
"""How often those whose credential runs out are found."""

_NO_PARAMS: Final = b"{}"


class Sight(msgspec.Struct, frozen=True):
    """What a listener sees of an endpoint: of lists, digests."""

    tools: bytes = b""
    prompts: bytes = b""
    resources: bytes = b""
    subjects: tuple[Subject, ...] = ()
    """Of those it asked for."""


class Wanted(msgspec.Struct, frozen=True):
    """Which lists a listener wants to hear of."""

    tools: bool = False
    prompts: bool = False
    resources: bool = False


Look = Callable[[TenantSnapshot], Sight | None]
"""What the listener would see now; None: it has no business here any more. Never raises."""


@dataclass(slots=True, eq=False, kw_only=True)
class Listener:
    """One open stream. `tell` writes to it, `end` closes it; neither blocks nor raises."""

    tenant: str
    principal: str = ""
    """Whose it is; counted by it."""
    wanted: Wanted
    look: Look
    sight: Sight
    tell: Notify
    end: Callable[[], None]
    generation: int
    """Of the snapshot the sight is of."""
    ahead: Callable[[TenantSnapshot], Awaitable[None]] | None = None
    """Comes before `look` where the snapshot's policy is remote."""


class Listeners:
    """All of one worker."""

    def __init__(
        self, snapshot: Callable[[str], TenantSnapshot | None], cap: int = MAX_LISTENERS, *, settle_s: float = 0.0
    ) -> None:
        """`snapshot`: of a tenant, as far as it is loaded. `settle_s`: what is found changed is told so much later."""
        self._snapshot = snapshot
        self._cap = cap
        self._settle_s = settle_s
        self._due: list[tuple[Listener, Notification]] = []
        """Found changed, not told yet."""
        self._of: dict[str, dict[Listener, None]] = {}
        self._count = 0
        self._shares = Shares(cap)
        self._errands: set[asyncio.Task[None]] = set()
        self.refused = 0
        """Streams beyond the cap, or their caller's share of it."""
        self.told = 0
        """Changes told."""

    def __len__(self) -> int:
        return self._count

    @property
    def bound(self) -> Bound:
        return Bound(self._count, self._cap, self.refused)

    def has(self, tenant: str) -> bool:
        return tenant in self._of

    def open(self, listener: Listener) -> Callable[[], None]:
        """Until what is returned is called. Raises Unavailable(OVERLOADED)."""
        if self._count >= self._cap:
            self.refused += 1
            raise Unavailable(Reason.OVERLOADED, "Too many streams are open here.", retry_after_s=5)
        if self._shares.full(listener.principal):
            self.refused += 1
            raise Unavailable(Reason.OVERLOADED, "This caller has too many streams open here.", retry_after_s=5)
        self._of.setdefault(listener.tenant, {})[listener] = None
        self._count += 1
        self._shares.take(listener.principal)
        return lambda: self._close(listener)

    def swapped(self, snapshot: TenantSnapshot) -> None:
        """Another snapshot of a tenant is in force."""
        if snapshot.tenant in self._of:
            self._run(self._tell(snapshot))

    def withdrawn(self, tenant: str) -> None:
        """The tenant is gone."""
        for listener in list(self._of.get(tenant, ())):
            listener.end()

    def end_all(self) -> None:
        """The worker is leaving."""
        for tenant in list(self._of):
            self.withdrawn(tenant)

    async def sweep(self) -> None:
        """End the streams of credentials that ran out; for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for tenant in list(self._of):
                snapshot = self._snapshot(tenant)
                if snapshot is not None:
                    await self._tell(snapshot)

    async def _tell(self, snapshot: TenantSnapshot) -> None:
        for done, listener in enumerate(list(self._of.get(snapshot.tenant, ())), 1):
            if listener.ahead is not None and snapshot.authorizer.remote is not None:
                await listener.ahead(snapshot)
            self._look_again(listener, snapshot)
            if not done % AT_ONCE:
                await asyncio.sleep(0)

    def _look_again(self, listener: Listener, snapshot: TenantSnapshot) -> None:
        if snapshot.manifest.generation < listener.generation:
            return  # A newer one was faster.
        before, now = listener.sight, listener.look(snapshot)
        if now is None:
            listener.end()
            return
        listener.sight, listener.generation = now, snapshot.manifest.generation
        wanted = listener.wanted
        for kind, changed in (
            ("tools", wanted.tools and now.tools != before.tools),
            ("prompts", wanted.prompts and now.prompts != before.prompts),
            ("resources", wanted.resources and now.resources != before.resources),
        ):
            if changed:
                self.told += 1
                self._later(listener, Notification(f"notifications/{kind}/list_changed", _NO_PARAMS))

    def _later(self, listener: Listener, notification: Notification) -> None:
        if not self._settle_s:
            listener.tell(notification)
            return
        if not self._due:
            asyncio.get_running_loop().call_later(self._settle_s, lambda: self._run(self._spread()))
        self._due.append((listener, notification))

    async def _spread(self) -> None:
        due, self._due = self._due, []
        for done, (listener, notification) in enumerate(due, 1):
            if listener in self._of.get(listener.tenant, ()):
                listener.tell(notification)
            if not done % AT_ONCE:
                await asyncio.sleep(0)

    def _close(self, listener: Listener) -> None:
        mine = self._of.get(listener.tenant)
        if mine is None or listener not in mine:
            return
        del mine[listener]
        self._count -= 1
        self._shares.give(listener.principal)
        if not mine:
            del self._of[listener.tenant]

    def _run(self, errand: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
