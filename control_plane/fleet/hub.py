"""What is in force, who is connected to this replica, and the parts they are likely to ask for."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from core.bound import Bound
from core.fleet import Published
from core.publication import Publications
from core.server import Observation
from core.trust import Announcement

PARTS_BYTES = 256 * 1024 * 1024
KEYS_KEPT = 10_000
OUSTED_MAX = 16
WATCHED_MAX = 10_000
"""Servers of one node that another one is to watch when it is gone; beyond, they wait for their next look."""
APPLIED_WITHIN_S = 5.0
"""Of a look: how long a gateway is waited for that has the tenant's newest snapshot, which may be on its way."""

DataKey = Callable[[str], Awaitable[bytes]]
"""A tenant's data key."""


Announced = Callable[[], Awaitable[Sequence[Announcement]]]
"""Reads the chain of announcements of signing keys."""


class Listener(Protocol):
    """A connected node, as the hub sees it."""

    node: str
    public_key: bytes

    def want(self, published: Published) -> None:
        """A snapshot is in force; never blocks."""
        ...

    async def probe(self, tenant: str, server: str, watch_s: int) -> Observation: ...

    def replace(self, why: str) -> None:
        """Another stream speaks for the node: end this one, and say `why`."""
        ...

    def trust_changed(self) -> None:
        """There is a new announcement of signing keys, to be sent before anything else; never blocks."""
        ...


class PartCache:
    """Parts by digest, the least recently used dropped first, up to a number of bytes."""

    def __init__(self, publications: Publications, limit_bytes: int = PARTS_BYTES) -> None:
        self._publications = publications
        self._limit = limit_bytes
        self._held: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0
        self._evicted = 0

    @property
    def bound(self) -> Bound:
        return Bound(self._size, self._limit, self._evicted)

    def keep(self, parts: Mapping[bytes, bytes]) -> None:
        for digest, data in parts.items():
            if digest not in self._held:
                self._held[digest] = data
                self._size += len(data)
        while self._size > self._limit:
            _, dropped = self._held.popitem(last=False)
            self._size -= len(dropped)
            self._evicted += 1

    async def get(self, digests: Collection[bytes]) -> dict[bytes, bytes]:
        """All of `digests` that exist; one query for those not held."""
        found = {digest: self._held[digest] for digest in digests if digest in self._held}
        for digest in found:
            self._held.move_to_end(digest)
        missing = [digest for digest in digests if digest not in found]
        if missing:
            loaded = await self._publications.parts(missing)
            self.keep(loaded)
            found.update(loaded)
        return found


class Hub:
    """This replica's side of all its streams."""

    def __init__(
        self,
        publications: Publications,
        data_key: DataKey,
        announced: Announced,
        *,
        applied_within_s: float = APPLIED_WITHIN_S,
    ) -> None:
        self._applied_within_s = applied_within_s
        self.parts = PartCache(publications)
        self.chain: Sequence[Announcement] = ()
        """Announcements of signing keys, oldest first."""
        self._announced = announced
        self._rank: dict[str, int] = {}
        self._publications = publications
        self._read_data_key = data_key
        self._data_keys: OrderedDict[str, bytes] = OrderedDict()
        self._keys_evicted = 0
        self._in_force: dict[str, Published] = {}
        self._sessions: dict[str, Listener] = {}
        self._ousted: dict[str, set[bytes]] = {}
        """Node to the keys of gateways that had its name before, while the one that has it now stays."""
        self._able: dict[str, set[str]] = {}
        self._first_able = asyncio.Event()
        """Set, and replaced, when a tenant's newest snapshot is in force on a first node."""
        self._awaited: dict[str, asyncio.Event] = {}
        """Tenant to who waits for its next publication, one event for all."""
        self._watched: dict[str, set[tuple[str, str]]] = {}
        """Node to the servers it was asked to watch, which say when they change."""
        self._unwatched = 0
        self.on_changed: Callable[[str, str], None] = lambda _tenant, _server: None
        """Told when a node says that a server's lists are others now; must not block."""
        self.on_able: Callable[[], None] = lambda: None
        """Told when a tenant's newest snapshot is in force on a first node; must not block."""

    async def load(self, tenants: Collection[str] | None = None) -> None:
        """Read what is in force, everything or these tenants, and tell the connected nodes. Rows are the truth."""
        current = await self._publications.current(tenants)
        if any(one.signed is not None and one.signed.key_id not in self._rank for one in current):
            await self.learn_trust()
        for one in filter(self._is_news, current):
            # A tenant that was deleted and made again has other keys than it had. Signed anew, it costs a look-up.
            self._data_keys.pop(one.tenant, None)
        self.announce(current)

    async def learn_trust(self) -> None:
        """Read who signs; every node is told before it is sent what a new key signed."""
        chain = await self._announced()
        if chain and (not self.chain or chain[-1].number > self.chain[-1].number):
            self.chain = chain
            self._rank = {one.signs: one.number for one in reversed(chain)}
            for session in self._sessions.values():
                session.trust_changed()

    def _is_news(self, one: Published) -> bool:
        """Later keys only sign anew what earlier ones signed, never the other way round."""
        before = self._in_force.get(one.tenant)
        return before is None or self._age(before) < self._age(one)

    def _age(self, one: Published) -> tuple[int, int]:
        return one.generation, self._rank.get(one.signed.key_id, 0) if one.signed is not None else 0

    def announce(self, published: Iterable[Published]) -> None:
        """These are in force. One that is older than what is known is late news and ignored."""
        for one in filter(self._is_news, published):
            before = self._in_force.get(one.tenant)
            self._in_force[one.tenant] = one
            if before is None or before.generation != one.generation:
                self._able.pop(one.tenant, None)
            news = self._awaited.pop(one.tenant, None)
            if news is not None:
                news.set()
            for session in self._sessions.values():
                session.want(one)

    def in_force(self) -> list[Published]:
        return list(self._in_force.values())

    def published(self, tenant: str) -> Published | None:
        """The newest; None: none ever, as far as it is known here."""
        return self._in_force.get(tenant)

    async def next(self, tenant: str) -> None:
        """Until something newer is published than what `published` gives now."""
        await self._awaited.setdefault(tenant, asyncio.Event()).wait()

    def generation(self, tenant: str) -> int:
        """Of the newest publication; 0: none, or withdrawn."""
        published = self._in_force.get(tenant)
        return published.generation if published is not None and published.signed is not None else 0

    def join(self, session: Listener) -> None:
        """The newest stream speaks for the node, and the one before ends. See `claimed`."""
        before = self._sessions.get(session.node)
        self._sessions[session.node] = session
        if before is None:
            return
        if before.public_key != session.public_key:
            ousted = self._ousted.setdefault(session.node, set())
            if len(ousted) < OUSTED_MAX:
                ousted.add(before.public_key)
        before.replace(f"another gateway connected as {session.node}: each needs a name of its own")

    def claimed(self, node: str, public_key: bytes) -> bool:
        """Whether this gateway had the name until another took it, which is still here: the two must not take turns."""
        return public_key in self._ousted.get(node, ())

    def superseded(self, nodes: Iterable[str]) -> None:
        """Streams at another replica speak for these now."""
        for name in nodes:
            session = self._sessions.get(name)
            if session is not None:
                session.replace(f"{name} is connected to another replica of the control plane")

    def leave(self, session: Listener) -> bool:
        """Whether this was the node's newest stream: if not, the node is still here."""
        if self._sessions.get(session.node) is not session:
            return False
        del self._sessions[session.node]
        for tenant, server in self._watched.pop(session.node, ()):
            self.on_changed(tenant, server)  # Nobody listens to it any more: the next look is by a node that will.
        self._ousted.pop(session.node, None)
        for tenant in [tenant for tenant, nodes in self._able.items() if session.node in nodes]:
            self._able[tenant].discard(session.node)
            if not self._able[tenant]:
                del self._able[tenant]
        return True

    def applied(self, session: Listener, tenant: str, generation: int) -> None:
        """The node serves this generation now. The first with the newest is told of."""
        if self._sessions.get(session.node) is not session or not 0 < generation == self.generation(tenant):
            return
        able = self._able.setdefault(tenant, set())
        able.add(session.node)
        if len(able) == 1:
            self._first_able.set()
            self._first_able = asyncio.Event()
            self.on_able()

    def bounds(self) -> dict[str, Bound]:
        return {
            "part_bytes": self.parts.bound,
            "data_keys": Bound(len(self._data_keys), KEYS_KEPT, self._keys_evicted),
            "watched_servers": Bound(max(map(len, self._watched.values()), default=0), WATCHED_MAX, self._unwatched),
        }

    @property
    def connected(self) -> int:
        return len(self._sessions)

    def served_here(self) -> list[str]:
        """Tenants whose newest snapshot is in force on a node connected here."""
        return list(self._able)

    async def look(self, tenant: str, server: str, watch_s: int) -> Observation:
        """Have one node that serves the tenant's newest snapshot look at a server, and watch it afterwards."""
        able = await self._await_able(tenant)
        if not able:
            return Observation(looked=False, error="no connected gateway serves this tenant")
        # Different tenants fall on different nodes, and one on the same as long as the fleet stays.
        node = max(able, key=lambda name: hash((tenant, name)))
        seen = await self._sessions[node].probe(tenant, server, watch_s)
        watched = self._watched.setdefault(node, set()) if node in self._sessions else set()
        if "list_changed" not in seen.offers:
            watched.discard((tenant, server))
        elif len(watched) < WATCHED_MAX:
            watched.add((tenant, server))
        else:
            self._unwatched += 1
        return seen

    async def _await_able(self, tenant: str) -> Collection[str]:
        """Nodes that serve the tenant's newest snapshot; none if it is not in force anywhere soon."""
        try:
            async with asyncio.timeout(self._applied_within_s):
                while not self._able.get(tenant):
                    await self._first_able.wait()
        except TimeoutError:
            return ()
        return self._able[tenant]

    async def data_keys(self, tenants: Collection[str]) -> dict[str, bytes]:
        """The tenants' data keys; those not known are read at the same time."""
        missing = [tenant for tenant in tenants if tenant not in self._data_keys]
        for tenant, key in zip(missing, await asyncio.gather(*map(self._read_data_key, missing)), strict=True):
            self.keep_key(tenant, key)
        return {tenant: self._data_keys[tenant] for tenant in tenants}

    def keep_key(self, tenant: str, key: bytes) -> None:
        self._data_keys[tenant] = key
        while len(self._data_keys) > KEYS_KEPT:
            self._data_keys.popitem(last=False)
            self._keys_evicted += 1
