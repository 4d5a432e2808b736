"""The tenants this worker serves: a pointer for each in force, a loaded snapshot for those in use."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from core.bound import Bound
from core.errors import Reason, Unavailable
from data_plane.snapshots import TenantSnapshot


class Pointer(NamedTuple):
    """Which snapshot of a tenant is in force."""

    generation: int
    manifest_digest: bytes


Load = Callable[[str, Pointer], Awaitable[TenantSnapshot]]
"""Reads, verifies and assembles off the event loop. Raises Unavailable(NO_SNAPSHOT) where it cannot."""


UNPROVEN = 8
"""How many loaded for who proved nothing yet are kept beside the others when memory is full."""


class Tenants:
    """Loads on first use, keeps the most recently used `cap`, swaps one reference per tenant.

    A key names its tenant before it proves anything. So what a stranger has loaded never takes the place of a tenant
    somebody is served from (`TenantSnapshot.is_used` tells): it waits apart until one of its keys was good.
    """

    def __init__(self, load: Load, cap: int) -> None:
        self._load = load
        self._cap = cap
        self._pointers: dict[str, Pointer] = {}
        self._loaded: OrderedDict[str, TenantSnapshot] = OrderedDict()
        self._unproven: OrderedDict[str, TenantSnapshot] = OrderedDict()
        self._served: set[str] = set()
        """Of the loaded, those somebody was served from before their newest snapshot."""
        self._loading: dict[str, asyncio.Future[TenantSnapshot]] = {}
        self._evicted = 0

    def __len__(self) -> int:
        return len(self._pointers)

    @property
    def in_memory(self) -> int:
        """How many are loaded; `len` counts all in force."""
        return len(self._loaded) + len(self._unproven)

    @property
    def bound(self) -> Bound:
        return Bound(len(self._loaded), self._cap, self._evicted)

    def snapshots(self) -> list[TenantSnapshot]:
        """Those in memory."""
        return [*self._loaded.values(), *self._unproven.values()]

    def loaded(self, tenant: str) -> TenantSnapshot | None:
        """The snapshot in force if it is in memory."""
        return self._loaded.get(tenant) or self._unproven.get(tenant)

    def at_hand(self, tenant: str) -> TenantSnapshot | None:
        """The snapshot in force if it is in memory, which makes it the one used last."""
        snapshot = self._loaded.get(tenant)
        if snapshot is None:
            return self._proven(tenant)
        if len(self._pointers) > self._cap:
            self._loaded.move_to_end(tenant)
        return snapshot

    def _proven(self, tenant: str) -> TenantSnapshot | None:
        """One that waited apart; among the others from here on if somebody was served from it."""
        snapshot = self._unproven.get(tenant)
        if snapshot is not None and snapshot.is_used:
            self._keep(tenant, self._unproven.pop(tenant))
        return snapshot

    async def current(self, tenant: str) -> TenantSnapshot | None:
        """The snapshot in force, loaded if need be, one load at a time per tenant; None for a tenant not served here.

        Raises Unavailable(NO_SNAPSHOT) where loading fails.
        """
        snapshot = self.at_hand(tenant)
        if snapshot is not None:
            return snapshot
        pointer = self._pointers.get(tenant)
        return None if pointer is None else await self._load_once(tenant, pointer)

    def point(self, tenant: str, pointer: Pointer) -> None:
        """Learn what is in force, of a tenant that is not loaded; `swap` it if it is."""
        self._pointers[tenant] = pointer

    async def prepare(self, tenant: str, pointer: Pointer) -> TenantSnapshot:
        """Load a snapshot without serving it yet. Raises Unavailable(NO_SNAPSHOT)."""
        return await self._load(tenant, pointer)

    def swap(self, tenant: str, pointer: Pointer, snapshot: TenantSnapshot) -> None:
        """Serve `snapshot` from here on. Calls in flight keep the one they began with."""
        self._pointers[tenant] = pointer
        before = self.loaded(tenant)
        if before is not None and before.is_used:
            self._served.add(tenant)
        if self._unproven.pop(tenant, None) is not None and tenant not in self._served:
            self._unproven[tenant] = snapshot
        else:
            self._keep(tenant, snapshot)

    def _keep(self, tenant: str, snapshot: TenantSnapshot) -> None:
        self._loaded[tenant] = snapshot
        self._loaded.move_to_end(tenant)
        while len(self._loaded) > self._cap:
            idle = (n for n, one in self._loaded.items() if not one.is_used and n not in self._served and n != tenant)
            victim = next(idle, next(iter(self._loaded)))
            self._loaded.pop(victim)
            self._served.discard(victim)
            self._evicted += 1

    def forget(self, tenant: str) -> None:
        """The tenant was withdrawn."""
        self._pointers.pop(tenant, None)
        self._loaded.pop(tenant, None)
        self._unproven.pop(tenant, None)
        self._served.discard(tenant)

    async def _load_once(self, tenant: str, pointer: Pointer) -> TenantSnapshot:
        waiting = self._loading.get(tenant)
        if waiting is None:
            waiting = asyncio.ensure_future(self._load(tenant, pointer))
            self._loading[tenant] = waiting
            waiting.add_done_callback(lambda done: self._arrived(tenant, pointer, done))
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if waiting.cancelled():
                raise Unavailable(Reason.NO_SNAPSHOT, "The gateway cannot serve this now.") from None
            raise

    def _arrived(self, tenant: str, pointer: Pointer, done: "asyncio.Future[TenantSnapshot]") -> None:
        self._loading.pop(tenant, None)
        if done.cancelled() or done.exception() is not None:
            return
        if self._pointers.get(tenant) != pointer:
            return
        if len(self._loaded) < self._cap or tenant in self._loaded:
            self._keep(tenant, done.result())
            return
        self._evicted += 1
        self._unproven[tenant] = done.result()
        while len(self._unproven) > UNPROVEN:
            self._unproven.popitem(last=False)
