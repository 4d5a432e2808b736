"""Declared things in memory: for tests and for trying things out. Nothing outlives the process."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal, NamedTuple

import msgspec

from core.admin import AuditRow
from core.audit import Entry, Head, link
from core.resource import Ref, Resource
from core.secret import Sealed
from core.store import Change, IssuedKey, Pruned, Put, Query

KEPT_CHANGES = 10_000


class MemoryStore:
    """Store and Statuses. One event loop."""

    def __init__(self) -> None:
        self.resources: dict[Ref, Resource] = {}
        self.references: dict[Ref, tuple[tuple[str, Ref], ...]] = {}
        self.sealed: dict[Ref, Sealed] = {}
        self.keys: dict[Ref, IssuedKey] = {}
        self.audit: dict[str, list[AuditRow]] = {}
        self._heads: dict[str, Head] = {}
        self._changes: list[Change] = []
        self._revision = 0
        self._pruned = 0
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, ref: Ref) -> Resource | None:
        return self.resources.get(ref)

    async def find(self, query: Query) -> list[Resource]:
        found = [one for one in self.resources.values() if _matches(one, query)]
        return sorted(found, key=lambda one: (one.tenant, one.name))[: query.limit]

    async def load(self, tenant: str) -> tuple[int, list[Resource]]:
        own = self.resources.get(Ref("Tenant", "", tenant))
        inside = sorted((one for ref, one in self.resources.items() if ref.tenant == tenant), key=lambda one: one.ref)
        return self._revision, [*([own] if own else []), *inside]

    async def changes(self, since: int, limit: int) -> list[Change]:
        if not self._pruned <= since <= self._revision:
            raise Pruned
        return [change for change in self._changes if change.revision > since][:limit]

    @asynccontextmanager
    async def writing(self, *tenants: str) -> AsyncIterator["MemoryWriting"]:
        async with AsyncExitStack() as stack:
            for tenant in sorted(set(tenants)):
                await stack.enter_async_context(self._locks.setdefault(tenant, asyncio.Lock()))
            writing = MemoryWriting(self)
            yield writing
            for put, entry in writing.done:
                self._commit(put, entry)

    async def report(self, patches: Mapping[Ref, Mapping[str, object]]) -> None:
        for ref, patch in patches.items():
            resource = self.resources.get(ref)
            if resource is not None:
                merged = {k: v for k, v in {**resource.status, **patch}.items() if v is not None}
                self.resources[ref] = msgspec.structs.replace(resource, status=merged)

    def _commit(self, done: "Put | Ref | Unsealed", entry: Entry) -> None:
        ref = done.resource.ref if isinstance(done, Put) else done.ref if isinstance(done, Unsealed) else done
        if isinstance(done, Ref):
            self._tell("deleted", ref, self.resources.get(ref))
        else:
            self._tell("applied", ref, None)
        if isinstance(done, Put):
            before = self.resources.get(ref)
            merged = {**(before.status if before else {}), **done.status}
            status = {name: value for name, value in merged.items() if value is not None}
            self.resources[ref] = msgspec.structs.replace(done.resource, status=status)
            self.references[ref] = done.references
            if done.sealed is not None:
                self.sealed[ref] = done.sealed
            if done.key is not None:
                self.keys[ref] = done.key
        elif isinstance(done, Unsealed):
            self.sealed.pop(ref, None)
        else:
            for table in (self.resources, self.references, self.sealed, self.keys):
                table.pop(ref, None)
        head, rows = link(self._heads.get(ref.tenant, Head()), [entry])
        self._heads[ref.tenant] = head
        self.audit.setdefault(ref.tenant, []).extend(rows)

    def _tell(self, kind: Literal["applied", "deleted"], ref: Ref, last: Resource | None) -> None:
        self._revision += 1
        self._changes.append(Change(self._revision, kind, ref, last))
        if len(self._changes) > KEPT_CHANGES:
            self._pruned = self._changes.pop(0).revision


class Unsealed(NamedTuple):
    """What is kept sealed for it is taken away."""

    ref: Ref


class MemoryWriting:
    """Reads what is committed, overlaid with what this change has done so far."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.done: list[tuple[Put | Ref | Unsealed, Entry]] = []

    async def get(self, ref: Ref) -> Resource | None:
        for done, _ in reversed(self.done):
            if done == ref:
                return None
            if isinstance(done, Put) and done.resource.ref == ref:
                return done.resource
        return self._store.resources.get(ref)

    async def existing(self, refs: Collection[Ref]) -> set[Ref]:
        return {ref for ref in refs if await self.get(ref) is not None}

    async def referrers(self, ref: Ref, limit: int) -> list[tuple[Ref, str]]:
        found = []
        for one, resource in self._store.resources.items():
            if await self.get(one) is None:
                continue
            if ref.kind == "Tenant" and one.tenant == ref.name:
                found.append((one, "tenant"))
            if ref.kind == "Namespace" and one.tenant == ref.tenant and resource.namespace == ref.name:
                found.append((one, "namespace"))
            if one.tenant == ref.tenant:
                named = self._store.references.get(one, ())
                found += [(one, path) for path, to in named if (to.kind, to.name) == (ref.kind, ref.name)]
        return sorted(found)[:limit]

    async def count(self, tenant: str, kind: str) -> int:
        return sum(ref.tenant == tenant and ref.kind == kind for ref in self._store.resources)

    async def sealed(self, ref: Ref) -> Sealed | None:
        return self._store.sealed.get(ref)

    async def put(self, put: Put, entry: Entry) -> None:
        self.done.append((put, entry))

    async def unseal(self, ref: Ref, entry: Entry) -> None:
        self.done.append((Unsealed(ref), entry))

    async def drop(self, ref: Ref, entry: Entry) -> None:
        self.done.append((ref, entry))


def _matches(one: Resource, query: Query) -> bool:
    return (
        one.kind == query.kind
        and (query.tenant is None or one.tenant == query.tenant)
        and (not query.name or one.name == query.name)
        and (not query.namespace or one.namespace == query.namespace)
        and (query.after is None or (one.tenant, one.name) > query.after)
        and all(term.holds(one.labels) for term in query.selector)
    )
