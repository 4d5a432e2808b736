"""`ToolBackend` for servers that speak Streamable HTTP, in either era."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from core.bound import Bound, Hits
from core.call import Ask, Interest, Notify, Outgoing, Raw, Route
from core.errors import Reason, Unavailable
from core.oauth_client import Prover
from core.server import HttpTransport
from core.snapshot import Backend
from data_plane.outbox import Outbox
from data_plane.upstreams import beside, duplex_watch, legacy, listening, modern, relist
from data_plane.upstreams.address import Resolver
from data_plane.upstreams.balance import Replica
from data_plane.upstreams.beside import Beside
from data_plane.upstreams.deadlines import Deadline, Deadlines
from data_plane.upstreams.errands import Errands
from data_plane.upstreams.failure import (
    ChallengedError,
    NotSentError,
    UnintelligibleError,
    overloaded,
    timed_out,
    unavailable,
)
from data_plane.upstreams.greeting import Greeting, contradicts_itself, from_discover
from data_plane.upstreams.http_server import HttpServer, Reached
from data_plane.upstreams.pool import MAX_WAITERS, PoolHits
from data_plane.upstreams.sessions import MAX_SESSIONS, Session, Sessions
from data_plane.upstreams.upstream import Upstream

_MAX_UPSTREAMS = 4096
_SESSION_IDLE_S = 300.0
_UPSTREAM_IDLE_S = 600.0
_SWEEP_S = 15.0
_CHALLENGED_S = 5.0
"""That a server refuses its credential is told so often at most."""

_GATEWAY = "the gateway's own"
"""Where what the gateway asks for itself is at home."""

T = TypeVar("T")
Stale = Callable[[str, str], None]
"""Told (tenant, server) when what is known of a server is not what it says any more."""


class HttpBackend:
    """Keeps connections and sessions per (tenant, server). Belongs to one loop; `close` it there."""

    def __init__(
        self,
        *,
        resolver: Resolver | None = None,
        session_idle_s: float = _SESSION_IDLE_S,
        stale: Stale = lambda *_: None,
        prover: Prover | None = None,
    ) -> None:
        """`prover`: of the possession of keys that tokens are bound to."""
        self._prover = prover
        self._resolver = resolver or Resolver()
        self._session_idle_s = session_idle_s
        self._stale = stale
        self._errands = Errands()
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        self._outbox = Outbox(self._loop)
        self._known: dict[tuple[str, str], HttpServer] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._full, self._sessions_full, self._pool_hits = Hits(), Hits(), PoolHits()

    async def call(self, route: Route, outgoing: Outgoing, notify: Notify, ask: Ask | None = None) -> Raw:
        now = self._loop.time()
        deadline = now + route.deadline_s
        server = self._reach(route, now)
        try:
            with self._deadlines.until(deadline) as clock:
                if server.balance is not None:
                    return await self._spread(server, route, outgoing, notify, ask, clock)
                if route.backend.era == "modern":
                    raw = await modern.call(server.upstream, route, outgoing, notify, deadline)
                    if raw.error and relist.mismatched(raw):
                        return await self._again(server, server.upstream, route, outgoing, notify, raw, deadline)
                    return raw
                if route.backend.era == "legacy":
                    return await legacy.call(server.sessions, route, outgoing, notify, ask, clock)
        except TimeoutError as late:
            raise timed_out(route.deadline_s) from late
        except ChallengedError:
            if now - server.challenged_at > _CHALLENGED_S:
                server.challenged_at = now
                self._stale(route.tenant, route.backend.server)
            raise
        raise unavailable("has not been looked at yet, so it is not known how to speak to it")

    async def watch(self, route: Route, interest: Interest, tell: Notify, *, began: Callable[[], None]) -> None:
        """`core.call.Watchable`."""
        server = self._reach(route, self._loop.time())
        upstream, _ = server.any(self._loop.time())
        try:
            async with asyncio.timeout(duplex_watch.within_s(route)) as limit:

                def has_begun() -> None:
                    limit.reschedule(None)
                    began()

                if route.backend.era == "modern":
                    await listening.modern(upstream, route, interest, tell, has_begun)
                else:
                    await listening.handshake(upstream, route, interest, tell, has_begun, self._errands)
        except TimeoutError as late:
            raise timed_out(route.deadline_s) from late

    async def greet(self, route: Route) -> Greeting:
        """Ask the server what it is. Raises Unavailable, at `route.deadline_s` too."""

        async def greeted(upstream: Upstream, sessions: Sessions) -> Greeting:
            found = await _discover(upstream, route, deadline) if route.backend.declared != "legacy" else None
            if found is not None:
                return found
            if route.backend.declared == "modern":
                raise unavailable("is declared modern, and does not serve revision 2026-07-28")
            return await legacy.greeted(sessions, route, deadline)

        deadline = self._loop.time() + route.deadline_s
        try:
            with self._deadlines.until(deadline):
                return await self._somewhere(self._reach(route, self._loop.time()), greeted, home=_GATEWAY)
        except TimeoutError as late:
            raise timed_out(route.deadline_s) from late

    async def ask(self, route: Route, greeting: Greeting, method: str, members: bytes) -> Raw:
        """A request besides tools/call. `members`: of params, each with a comma after it. Raises Unavailable."""

        async def asked(upstream: Upstream, sessions: Sessions) -> Raw:
            if greeting.era == "modern":
                return await modern.ask(upstream, route, method, members, deadline)
            session = await sessions.get(route, legacy.NOTHING)
            sent = b"{%b}" % members.rstrip(b",")
            return await legacy.ask(session, route, method, sent, deadline, self._errands)

        deadline = self._loop.time() + route.deadline_s
        try:
            with self._deadlines.until(deadline):
                # A list's pages are of one server: a cursor may mean nothing to its equals.
                return await self._somewhere(self._reach(route, self._loop.time()), asked, home=_GATEWAY)
        except TimeoutError as late:
            raise timed_out(route.deadline_s) from late

    async def _spread(  # noqa: PLR0917 - as `call`.
        self, server: HttpServer, route: Route, outgoing: Outgoing, notify: Notify, ask: Ask | None, clock: Deadline
    ) -> Raw:
        """A call of a server that has replicas."""

        async def call(upstream: Upstream, sessions: Sessions) -> Raw:
            if route.backend.era == "modern":
                raw = await modern.call(upstream, route, outgoing, notify, clock.when)
                if relist.mismatched(raw):
                    return await self._again(server, upstream, route, outgoing, notify, raw, clock.when)
                return raw
            return await legacy.call(sessions, route, outgoing, notify, ask, clock)

        if route.backend.era is None:
            raise unavailable("has not been looked at yet, so it is not known how to speak to it")
        home = (route.headers, outgoing.capabilities, outgoing.principal) if route.backend.era == "legacy" else None
        return await self._somewhere(server, call, home=home if server.stateful else None)

    async def _somewhere(
        self, server: HttpServer, work: Callable[[Upstream, Sessions], Awaitable[T]], *, home: Hashable | None
    ) -> T:
        """At one replica; at another where nothing was sent to the first. Raises Unavailable."""
        balance, tried = server.balance, list[Replica[Reached]]()
        if balance is None:
            return await work(server.upstream, server.sessions)
        while True:
            replica = balance.pick(self._loop.time(), home=home, but=tried)
            if home is not None:
                balance.settle(home, replica)
            replica.in_flight += 1
            try:
                done = await work(*replica.one)
            except Unavailable as failure:
                if failure.reason is Reason.UPSTREAM_UNAVAILABLE and not isinstance(failure, UnintelligibleError):
                    balance.failed(replica, self._loop.time())
                tried.append(replica)
                if not isinstance(failure, NotSentError) or len(tried) >= len(balance.replicas):
                    raise
            else:
                balance.succeeded(replica)
                return done
            finally:
                replica.in_flight -= 1

    async def _again(  # noqa: PLR0917 - as `call`.
        self,
        server: HttpServer,
        upstream: Upstream,
        route: Route,
        outgoing: Outgoing,
        notify: Notify,
        refused: Raw,
        deadline: float,
    ) -> Raw:
        """Refused for its headers, so not begun: once more with those that the tool as it is listed now asks for."""
        if not server.corrections.known(route.tool, self._loop.time()):
            self._stale(route.tenant, route.backend.server)
        if outgoing.method != "tools/call":
            return refused

        async def listed(members: bytes) -> Raw:
            return await modern.ask(upstream, route, "tools/list", members, deadline)

        corrected = await server.corrections.corrected(route, outgoing, listed, self._loop.time())
        return refused if corrected is None else await modern.call(upstream, corrected, outgoing, notify, deadline)

    def bounds(self) -> dict[str, Bound]:
        """What is held of all servers together; `upstream_waiters` of the one most waited for."""
        servers = self._known.values()
        pools = [upstream.pool for server in servers for upstream, _ in server.all()]
        streams = [upstream.streams for server in servers for upstream, _ in server.all()]
        room = sum(pool.cap for pool in pools)
        sessions = sum(len(kept) for server in servers for _, kept in server.all())
        longest = max((pool.waiting for pool in pools), default=0)
        in_use = sum(pool.in_use for pool in pools)
        now = self._loop.time()
        spread = [server.balance for server in servers if server.balance is not None]
        return {
            "upstreams": Bound(len(servers), _MAX_UPSTREAMS, self._full.count),
            "upstream_connections_in_use": Bound(in_use, room, self._pool_hits.full.count),
            "upstream_connections_idle": Bound(sum(pool.idle for pool in pools), room),
            "upstream_waiters": Bound(longest, MAX_WAITERS, self._pool_hits.refused.count),
            "upstream_sessions": Bound(sessions, MAX_SESSIONS * len(pools), self._sessions_full.count),
            "upstream_streams": Bound(sum(pool.in_use for pool in streams), sum(pool.cap for pool in streams)),
            "upstream_replicas_ejected": Bound(
                sum(balance.ejected(now) for balance in spread), sum(len(balance.replicas) for balance in spread)
            ),
            "upstream_errands": self._errands.bound,
            **self._resolver.bounds(),
        }

    def connections(self) -> dict[tuple[str, str], tuple[int, int]]:
        """For metrics: (tenant, server) to connections in use and idle."""
        return {key: (server.in_use, server.idle) for key, server in self._known.items()}

    def retire(self, tenant: str, server: str) -> None:
        """The server is gone or its settings changed: calls under way finish, nothing else is kept."""
        known = self._known.pop((tenant, server), None)
        if known is not None:
            known.close()

    async def close(self) -> None:
        """End sessions, close connections. Calls under way fail."""
        if self._sweep is not None:
            self._sweep.cancel()
        closing = list(self._known.values())
        self._known.clear()
        for server in closing:
            server.end_sessions()
        await self._errands.close()
        for server in closing:
            server.abort()
        self._resolver.close()

    def _reach(self, route: Route, now: float) -> HttpServer:
        """What is kept of the route's server; anew when its settings changed. Raises Unavailable."""
        key = (route.tenant, route.backend.server)
        known = self._known.get(key)
        if known is None or not (known.backend is route.backend or known.transport == route.backend.transport):
            known = self._meet(route, key)
        known.backend = route.backend  # Compared by identity first: snapshots change more often than settings.
        known.last_used = now
        return known

    def _meet(self, route: Route, key: tuple[str, str]) -> HttpServer:
        transport = route.backend.transport
        if not isinstance(transport, HttpTransport):
            raise unavailable("is not reached over HTTP")
        self.retire(*key)
        if len(self._known) >= _MAX_UPSTREAMS:
            self._full.count += 1
            self._retire_idlest()
        self._known[key] = known = HttpServer(route.backend, transport, self._made)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._expire)
        return known

    def _made(self, backend: Backend, transport: HttpTransport) -> tuple[Upstream, Sessions]:
        upstream = Upstream(backend, transport, self._resolver, self._outbox, self._pool_hits, self._prover)
        return upstream, Sessions(upstream, self._errands, self._sessions_full, self._listen_beside)

    async def _listen_beside(self, session: Session, route: Route) -> Beside | None:
        return await beside.listen(session, route, self._errands)

    def _retire_idlest(self) -> None:
        idle = [key for key, server in self._known.items() if not server.in_use]
        if not idle:
            raise overloaded(f"{_MAX_UPSTREAMS} servers are in use at once")
        self.retire(*min(idle, key=lambda key: self._known[key].last_used))

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for key, server in list(self._known.items()):
            server.expire(now - self._session_idle_s)
            if now - server.last_used > _UPSTREAM_IDLE_S and not server.in_use:
                self.retire(*key)
        self._sweep = loop.call_later(_SWEEP_S, self._expire) if self._known else None


async def _discover(upstream: Upstream, route: Route, deadline: float) -> Greeting | None:
    """None: the server is alive and not modern. Whoever does not answer at all has said nothing of its era."""
    try:
        answer = await modern.ask(upstream, route, "server/discover", b"", deadline)
        if contradicts_itself(answer):
            answer = await modern.ask(upstream, route, "server/discover", b"", deadline)
        return from_discover(answer)
    except UnintelligibleError:
        return None
