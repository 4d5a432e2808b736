"""`ToolBackend` for servers that speak Streamable HTTP, in either era."""

import asyncio

from core.bound import Bound, Hits
from core.call import Ask, Notify, Outgoing, Raw, Route
from core.server import HttpTransport
from data_plane.outbox import Outbox
from data_plane.upstreams import legacy, modern
from data_plane.upstreams.address import Resolver
from data_plane.upstreams.deadlines import Deadlines
from data_plane.upstreams.errands import Errands
from data_plane.upstreams.failure import UnintelligibleError, overloaded, timed_out, unavailable
from data_plane.upstreams.greeting import Greeting, from_discover
from data_plane.upstreams.legacy import MAX_SESSIONS, Sessions
from data_plane.upstreams.pool import MAX_WAITERS, PoolHits
from data_plane.upstreams.upstream import Upstream

_MAX_UPSTREAMS = 4096
_SESSION_IDLE_S = 300.0
_UPSTREAM_IDLE_S = 600.0
_SWEEP_S = 15.0


class HttpBackend:
    """Keeps connections and sessions per (tenant, server). Belongs to one loop; `close` it there."""

    def __init__(self, *, resolver: Resolver | None = None, session_idle_s: float = _SESSION_IDLE_S) -> None:
        self._resolver = resolver or Resolver()
        self._session_idle_s = session_idle_s
        self._errands = Errands()
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        self._outbox = Outbox(self._loop)
        self._known: dict[tuple[str, str], tuple[Upstream, Sessions]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._full, self._sessions_full, self._pool_hits = Hits(), Hits(), PoolHits()

    async def call(
        self,
        route: Route,
        outgoing: Outgoing,
        notify: Notify,
        ask: Ask | None = None,  # noqa: ARG002 - not yet carried
    ) -> Raw:
        now = self._loop.time()
        deadline = now + route.deadline_s
        upstream, sessions = self._reach(route, now)
        try:
            with self._deadlines.until(deadline):
                if route.backend.era == "modern":
                    return await modern.call(upstream, route, outgoing, notify, deadline)
                if route.backend.era == "legacy":
                    return await legacy.call(sessions, route, outgoing, notify, deadline)
        except TimeoutError as late:
            raise timed_out(route.deadline_s) from late
        raise unavailable("has not been looked at yet, so it is not known how to speak to it")

    async def greet(self, route: Route) -> Greeting:
        """Ask the server what it is. Raises Unavailable, at `route.deadline_s` too."""
        deadline = asyncio.get_running_loop().time() + route.deadline_s
        upstream, sessions = self._reach(route, deadline - route.deadline_s)
        try:
            with self._deadlines.until(deadline):
                found = await _discover(upstream, route, deadline) if route.backend.declared != "legacy" else None
                if found is not None:
                    return found
                if route.backend.declared == "modern":
                    raise unavailable("is declared modern, and does not serve revision 2026-07-28")
                return (await sessions.get(route, b"{}")).greeting
        except TimeoutError as late:
            raise timed_out(route.deadline_s) from late

    async def ask(self, route: Route, greeting: Greeting, method: str, members: bytes) -> Raw:
        """A request besides tools/call. `members`: of params, each with a comma after it. Raises Unavailable."""
        deadline = asyncio.get_running_loop().time() + route.deadline_s
        upstream, sessions = self._reach(route, deadline - route.deadline_s)
        try:
            with self._deadlines.until(deadline):
                if greeting.era == "modern":
                    return await modern.ask(upstream, route, method, members, deadline)
                session = await sessions.get(route, b"{}")
                return await legacy.ask(session, route, method, b"{%b}" % members.rstrip(b","), deadline)
        except TimeoutError as late:
            raise timed_out(route.deadline_s) from late

    def bounds(self) -> dict[str, Bound]:
        """What is held of all servers together; `upstream_waiters` of the one most waited for."""
        pools = [upstream.pool for upstream, _ in self._known.values()]
        room = sum(pool.cap for pool in pools)
        sessions = sum(len(kept) for _, kept in self._known.values())
        longest = max((pool.waiting for pool in pools), default=0)
        in_use = sum(pool.in_use for pool in pools)
        return {
            "upstreams": Bound(len(pools), _MAX_UPSTREAMS, self._full.count),
            "upstream_connections_in_use": Bound(in_use, room, self._pool_hits.full.count),
            "upstream_connections_idle": Bound(sum(pool.idle for pool in pools), room),
            "upstream_waiters": Bound(longest, MAX_WAITERS, self._pool_hits.refused.count),
            "upstream_sessions": Bound(sessions, MAX_SESSIONS * len(pools), self._sessions_full.count),
            "upstream_errands": self._errands.bound,
            **self._resolver.bounds(),
        }

    def connections(self) -> dict[tuple[str, str], tuple[int, int]]:
        """For metrics: (tenant, server) to connections in use and idle."""
        return {key: (upstream.pool.in_use, upstream.pool.idle) for key, (upstream, _) in self._known.items()}

    def retire(self, tenant: str, server: str) -> None:
        """The server is gone or its settings changed: calls under way finish, nothing else is kept."""
        known = self._known.pop((tenant, server), None)
        if known is not None:
            known[1].close()
            known[0].pool.close()

    async def close(self) -> None:
        """End sessions, close connections. Calls under way fail."""
        if self._sweep is not None:
            self._sweep.cancel()
        closing = list(self._known.values())
        self._known.clear()
        for _, sessions in closing:
            sessions.close()
        await self._errands.close()
        for upstream, _ in closing:
            upstream.pool.abort()
        self._resolver.close()

    def _reach(self, route: Route, now: float) -> tuple[Upstream, Sessions]:
        """What is kept of the route's server; anew when its settings changed. Raises Unavailable."""
        key = (route.tenant, route.backend.server)
        known = self._known.get(key)
        if known is None or not (known[0].backend is route.backend or known[0].transport == route.backend.transport):
            known = self._meet(route, key)
        known[0].backend = route.backend  # Compared by identity first: snapshots change more often than settings.
        known[0].last_used = now
        return known

    def _meet(self, route: Route, key: tuple[str, str]) -> tuple[Upstream, Sessions]:
        transport = route.backend.transport
        if not isinstance(transport, HttpTransport):
            raise unavailable("is not reached over HTTP")
        self.retire(*key)
        if len(self._known) >= _MAX_UPSTREAMS:
            self._full.count += 1
            self._retire_idlest()
        upstream = Upstream(route.backend, transport, self._resolver, self._outbox, self._pool_hits)
        self._known[key] = known = (upstream, Sessions(upstream, self._errands, self._sessions_full))
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._expire)
        return known

    def _retire_idlest(self) -> None:
        idle = [key for key, (upstream, _) in self._known.items() if not upstream.pool.in_use]
        if not idle:
            raise overloaded(f"{_MAX_UPSTREAMS} servers are in use at once")
        self.retire(*min(idle, key=lambda key: self._known[key][0].last_used))

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for key, (upstream, sessions) in list(self._known.items()):
            sessions.expire(now - self._session_idle_s)
            if now - upstream.last_used > _UPSTREAM_IDLE_S and not upstream.pool.in_use:
                self.retire(*key)
        self._sweep = loop.call_later(_SWEEP_S, self._expire) if self._known else None


async def _discover(upstream: Upstream, route: Route, deadline: float) -> Greeting | None:
    """None: the server is alive and not modern. Whoever does not answer at all has said nothing of its era."""
    try:
        return from_discover(await modern.ask(upstream, route, "server/discover", b"", deadline))
    except UnintelligibleError:
        return None
