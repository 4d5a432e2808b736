"""Watch: the current state, then every change, to as many watchers as ask. One reader of the store feeds them all."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from control_plane.services.authority import is_allowed, may_list, no_tenant, see_tenant, sees
from control_plane.services.resources import known
from core.admin import Admin, Event, Rejected, Why
from core.bound import Bound, Hits
from core.identity import ApiKey
from core.kinds import KINDS
from core.resource import Ref, Resource
from core.store import Change, Pruned, Query, Store

QUEUE = 1_024
"""Events a watcher may be behind; one further and it is told to come back."""
MAX_WATCHERS = 1_000
MAX_AGE_S = 3_600.0
"""A watch ends after so long, and is begun again with a credential that is checked again."""
READ = 500
RETRY_S = 0.5
NOWHERE = "-"
"""No tenant's name: to load it gives the newest revision and nothing else."""


class Notices(Protocol):
    def __call__(self) -> AsyncIterator[int | None]:
        """Revisions as they are committed, for ever; None: some may have been missed."""
        ...


class Watcher:
    """One watcher's place in the stream. Made by `Watch` only."""

    def __init__(self, admin: Admin, began: int, too_slow: Hits | None = None) -> None:
        """`began`: the revision when it began. `too_slow`: counts watches ended for being behind."""
        self._too_slow = too_slow or Hits()
        self.admin = admin
        self.began = began
        self.events: asyncio.Queue[Event | Rejected] = asyncio.Queue(QUEUE)
        self.dropped = False
        self._until = asyncio.get_running_loop().time() + MAX_AGE_S

    def tell(self, event: Event) -> None:
        try:
            self.events.put_nowait(event)
        except asyncio.QueueFull:
            self._too_slow.count += 1
            self.end(Rejected(Why.UNAVAILABLE, f"too slow: watch again, since revision {event.revision - 1} or from 0"))

    async def next(self) -> Event:
        """Raises Rejected when the watch is over."""
        try:
            async with asyncio.timeout_at(self._until):
                told = await self.events.get()
        except TimeoutError as failure:
            raise Rejected(Why.UNAVAILABLE, "the watch is old: begin it again") from failure
        if isinstance(told, Rejected):
            raise told
        return told

    def end(self, why: Rejected) -> None:
        """The last thing it hears; what waited is lost."""
        self.dropped = True
        while not self.events.empty():
            self.events.get_nowait()
        self.events.put_nowait(why)


class Watch:
    def __init__(self, store: Store, notices: Notices, *, ready_s: float = 5.0) -> None:
        """`ready_s`: how long a watch waits for `run` to have read the first time."""
        self._store = store
        self._notices = notices
        self._watchers: set[Watcher] = set()
        self._revision = 0
        self._ready = asyncio.Event()
        self._ready_s = ready_s
        self._turned_away = 0
        self._too_slow = Hits()

    def bounds(self) -> dict[str, Bound]:
        behind = max((watcher.events.qsize() for watcher in self._watchers), default=0)
        return {
            "watchers": Bound(len(self._watchers), MAX_WATCHERS, self._turned_away),
            "watch_events": Bound(behind, QUEUE, self._too_slow.count),
        }

    async def run(self) -> None:
        """Read changes and hand them out. For ever: give it a task of the root's group."""
        async for revision in self._notices():
            if revision is not None and revision <= self._revision and self._ready.is_set():
                continue
            await self._catch_up()

    async def watch(self, admin: Admin, kind: str = "", tenant: str = "", since: int = 0) -> AsyncIterator[Event]:
        """Events for as long as the caller listens; the first ones are the current state, up to "synced".

        With `since`, only what changed after that revision. An event carries a resource as it is when it is told, so
        several changes in a row may read alike. Raises Rejected: CONFLICT when `since` is no longer kept, UNAVAILABLE
        when the caller is too slow or its key was changed, UNAUTHENTICATED once its key is revoked.
        """
        wanted = _Wanted(admin, known(kind) if kind else "", tenant)
        may_list(admin, wanted.kind)
        if tenant:
            see_tenant(admin, tenant)
            if await self._store.get(Ref("Tenant", "", tenant)) is None:
                raise no_tenant(tenant)
        await self._is_ready()
        if len(self._watchers) >= MAX_WATCHERS:
            self._turned_away += 1
            raise Rejected(Why.UNAVAILABLE, f"there are {MAX_WATCHERS} watchers already")
        watcher = Watcher(admin, await self._latest(), self._too_slow)
        self._watchers.add(watcher)
        try:
            at = await self._latest()
            async for event in self._since(since, at) if since else self._state(wanted, at):
                if wanted.covers(event):
                    yield event
            yield Event("synced", max(at, since))
            while True:
                told = await watcher.next()
                if told.revision > at and wanted.covers(told):
                    yield told
        finally:
            self._watchers.discard(watcher)

    async def _latest(self) -> int:
        return (await self._store.load(NOWHERE))[0]

    async def _is_ready(self) -> None:
        try:
            async with asyncio.timeout(self._ready_s):
                await self._ready.wait()
        except TimeoutError as failure:
            raise Rejected(Why.UNAVAILABLE, "changes cannot be read at the moment; try again") from failure

    async def _catch_up(self) -> None:
        """Hand out all there is, however long the store is away meanwhile."""
        while True:
            try:
                if not self._ready.is_set():
                    self._revision = await self._latest()
                    self._ready.set()
                while changes := await self._store.changes(self._revision, READ):
                    for change in changes:
                        event = await self._event(change)
                        self._revision = change.revision
                        if event is not None:
                            self._tell(event)
                return
            except Pruned:
                self._drop_all()
            except Rejected:
                await asyncio.sleep(RETRY_S)

    def _tell(self, event: Event) -> None:
        for watcher in [one for one in self._watchers if not one.dropped]:
            why = _ends(watcher.admin, event, watcher.began)
            if why is None:
                watcher.tell(event)
            else:
                watcher.end(why)

    def _drop_all(self) -> None:
        """This replica is further behind than changes are kept: nobody can be told what was missed."""
        self._ready.clear()
        for watcher in self._watchers:
            watcher.end(Rejected(Why.CONFLICT, "changes were missed: watch again from 0"))

    async def _state(self, wanted: "_Wanted", at: int) -> AsyncIterator[Event]:
        """Everything there is, at least as of revision `at`."""
        for kind in [wanted.kind] if wanted.kind else KINDS:
            after: tuple[str, str] | None = None
            while True:
                page = await self._store.find(Query(kind=kind, tenant=wanted.listed(kind), after=after, limit=READ))
                for resource in page:
                    yield Event("applied", at, resource)
                if len(page) < READ:
                    break
                after = (page[-1].tenant, page[-1].name)

    async def _since(self, since: int, until: int) -> AsyncIterator[Event]:
        while True:
            try:
                changes = await self._store.changes(since, READ)
            except Pruned as failure:
                raise Rejected(
                    Why.CONFLICT, f"changes since revision {since} are not kept any more: watch from 0"
                ) from failure
            for change in changes:
                if change.revision > until:
                    return
                event = await self._event(change)
                if event is not None:
                    yield event
                since = change.revision
            if len(changes) < READ:
                return

    async def _event(self, change: Change) -> Event | None:
        """None: what was applied is gone again, and its deletion is a change of its own."""
        resource = change.last if change.type == "deleted" else await self._store.get(change.ref)
        return Event(change.type, change.revision, resource) if resource is not None else None


class _Wanted(msgspec.Struct, frozen=True):
    """What one watcher asked for and may see."""

    admin: Admin
    kind: str
    tenant: str

    def covers(self, event: Event) -> bool:
        assert event.resource is not None
        ref = event.resource.ref
        concerned = ref.name if ref.kind == "Tenant" else ref.tenant
        fits = (not self.kind or ref.kind == self.kind) and (not self.tenant or concerned == self.tenant)
        return (
            fits
            and sees(self.admin, ref)
            and is_allowed(self.admin, "list", ref, "viewer", labels=event.resource.labels)
        )

    def listed(self, kind: str) -> str | None:
        if kind == "Tenant":
            return ""
        return self.tenant or self.admin.tenant


def _grants(admin: Admin, resource: Resource) -> bool:
    """Whether it may say what a key may do that goes by its user's roles."""
    if admin.role != "bound" or resource.tenant != admin.tenant:
        return False
    return resource.kind in ("Role", "RoleBinding") or (resource.kind, resource.name) == ("User", admin.user)


def _ends(admin: Admin, event: Event, began: int) -> Rejected | None:
    """Why the event ends the watch of whoever came with the key it is about, if not for what was so when it `began`."""
    resource = event.resource
    if resource is not None and _grants(admin, resource) and event.revision > began:
        return Rejected(Why.UNAVAILABLE, "what the admin key may do was changed: begin the watch again")
    if resource is None or not isinstance(resource.spec, ApiKey):
        return None
    if admin.name != (f"{resource.tenant}/{resource.name}" if resource.tenant else resource.name):
        return None
    if event.type == "deleted" or resource.spec.revoked or resource.spec.admin_role != admin.role:
        return Rejected(Why.UNAUTHENTICATED, "the admin token is not valid")
    if event.revision <= began:
        return None
    # It may have been rotated, and then the token is an old one: whoever begins again proves that it is not.
    return Rejected(Why.UNAVAILABLE, "the admin key was changed: begin the watch again")
