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


class Tenants:
    """Loads on first use, keeps the most recently used `cap`, swaps one reference per tenant."""

    def __init__(self, load: Load, cap: int) -> None:
        self._load = load
        self._cap = cap
        self._pointers: dict[str, Pointer] = {}
        self._loaded: OrderedDict[str, TenantSnapshot] = OrderedDict()
        self._loading: dict[str, asyncio.Future[TenantSnapshot]] = {}
        self._evicted = 0

    def __len__(self) -> int:
        return len(self._pointers)

    @property
    def in_memory(self) -> int:
        """How many are loaded; `len` counts all in force."""
        return len(self._loaded)

    @property
    def bound(self) -> Bound:
        return Bound(len(self._loaded), self._cap, self._evicted)

    def snapshots(self) -> list[TenantSnapshot]:
        """Those in memory."""
        return list(self._loaded.values())

    def loaded(self, tenant: str) -> TenantSnapshot | None:
        """The snapshot in force if it is in memory."""
        return self._loaded.get(tenant)

    def at_hand(self, tenant: str) -> TenantSnapshot | None:
        """The snapshot in force if it is in memory, which makes it the one used last."""
        snapshot = self._loaded.get(tenant)
        if snapshot is not None and len(self._pointers) > self._cap:
            self._loaded.move_to_end(tenant)
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
        self._loaded[tenant] = snapshot
        self._loaded.move_to_end(tenant)
        while len(self._loaded) > self._cap:
            self._loaded.popitem(last=False)
            self._evicted += 1

    def forget(self, tenant: str) -> None:
        """The tenant was withdrawn."""
        self._pointers.pop(tenant, None)
        self._loaded.pop(tenant, None)

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
        if self._pointers.get(tenant) == pointer:
            self.swap(tenant, pointer, done.result())
