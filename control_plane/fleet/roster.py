"""What the streams report, gathered and written at most a few times a second: never a row per answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from core.admin import Rejected
from core.fleet import Node, Nodes, Published, TenantOnNode
from core.snapshot import Holding

FLUSH_S = 0.2
SEEN_EVERY_S = 5.0

OnNews = Callable[[set[str]], Awaitable[None]]
"""Told of tenants for which a refusal came or went."""


@dataclass(slots=True)
class _Member:
    version: str
    workers: int
    seen_unix: float
    lag_ms: float = 0.0
    dirty: dict[str, TenantOnNode] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)
    changed: bool = True


class Roster:
    """The nodes connected to this replica."""

    def __init__(self, replica: str, nodes: Nodes) -> None:
        self._replica = replica
        self._nodes = nodes
        self._members: dict[str, _Member] = {}
        self._gone: set[str] = set()
        self._news: set[str] = set()
        self._wake = asyncio.Event()

    def joined(self, node: str, version: str, workers: int) -> None:
        self._members[node] = _Member(version, workers, time.time())
        self._gone.discard(node)
        self._wake.set()

    def holds(self, node: str, holdings: Iterable[Holding]) -> None:
        """What the node brought with it."""
        member = self._members[node]
        for held in holdings:
            member.dirty[held.tenant] = TenantOnNode(
                tenant=held.tenant, applied=held.generation, digest=held.manifest_digest
            )

    def seen(self, node: str, workers: int) -> None:
        member = self._members.get(node)
        if member is not None:
            member.seen_unix, member.workers, member.changed = time.time(), workers, True

    def applied(self, node: str, published: Published, lag_ms: float) -> None:
        member = self._members.get(node)
        if member is None:
            return
        member.seen_unix, member.lag_ms, member.changed = time.time(), lag_ms, True
        member.dirty[published.tenant] = TenantOnNode(
            tenant=published.tenant, applied=published.generation, digest=published.manifest_digest
        )
        if published.tenant in member.refusing:
            member.refusing.discard(published.tenant)
            self._news.add(published.tenant)
        self._wake.set()

    def refused(self, node: str, published: Published, reasons: tuple[str, ...]) -> None:
        member = self._members.get(node)
        if member is None:
            return
        before = member.dirty.get(published.tenant)
        member.dirty[published.tenant] = TenantOnNode(
            tenant=published.tenant,
            applied=before.applied if before else 0,
            digest=before.digest if before else b"",
            nack=reasons or ("no reason given",),
            nack_generation=published.generation,
        )
        member.refusing.add(published.tenant)
        self._news.add(published.tenant)
        self._wake.set()

    def forgotten(self, node: str, tenant: str) -> None:
        member = self._members.get(node)
        if member is not None:
            member.dirty.pop(tenant, None)
            member.dropped.add(tenant)
            self._wake.set()

    def left(self, node: str) -> None:
        self._members.pop(node, None)
        self._gone.add(node)
        self._wake.set()

    async def run(self, on_news: OnNews) -> None:
        """Write what changed, for ever. While the database is away it gathers; nothing is lost but time."""
        while True:
            try:
                async with asyncio.timeout(SEEN_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.flush(on_news)
            except Rejected:
                self._wake.set()
                await asyncio.sleep(1.0)
            await asyncio.sleep(FLUSH_S)

    async def flush(self, on_news: OnNews) -> None:
        """Write now. Raises Rejected(UNAVAILABLE), with everything kept for the next time."""
        taken = {name: (member, member.dirty, member.dropped) for name, member in self._members.items()}
        gone, news = set(self._gone), set(self._news)
        for member in self._members.values():
            member.dirty, member.dropped = {}, set()
        self._news -= news
        try:
            for name, (_, _, dropped) in taken.items():
                if dropped:
                    await self._nodes.prune(name, sorted(dropped))
            nodes = [_node(name, member, dirty) for name, (member, dirty, _) in taken.items()]
            await self._nodes.record(self._replica, nodes, sorted(gone))
            if news:
                await on_news(news)
        except Rejected:
            for member, dirty, dropped in taken.values():
                member.dirty = {**dirty, **member.dirty}
                member.dropped |= dropped
            self._news |= news
            raise
        self._gone -= gone


def _node(name: str, member: _Member, dirty: dict[str, TenantOnNode]) -> Node:
    return Node(
        name=name,
        version=member.version,
        connected=True,
        last_seen_unix=member.seen_unix,
        workers=member.workers,
        lag_ms=member.lag_ms,
        tenants=tuple(dirty.values()),
    )
