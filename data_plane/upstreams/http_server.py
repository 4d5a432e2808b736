"""What is kept of one HTTP server of one tenant: connections and sessions, of each of its replicas."""

from collections.abc import Callable

import msgspec

from core.server import HttpTransport
from core.snapshot import Backend
from data_plane.upstreams.balance import Balance, Replica
from data_plane.upstreams.relist import Corrections
from data_plane.upstreams.sessions import Sessions
from data_plane.upstreams.upstream import Upstream

Reached = tuple[Upstream, Sessions]


class HttpServer:
    """`upstream` and `sessions` are those of its only URL, or of the first. `balance`: None where there is one."""

    def __init__(
        self, backend: Backend, transport: HttpTransport, make: Callable[[Backend, HttpTransport], Reached]
    ) -> None:
        """Raises Unavailable for a URL that cannot be used."""
        self.backend = backend
        self.transport = transport
        self.last_used = 0.0
        self.challenged_at = float("-inf")
        self.corrections = Corrections()
        self.upstream, self.sessions = make(backend, transport)
        self.balance: Balance[Reached] | None = None
        if transport.replicas:
            replicas = [Replica((self.upstream, self.sessions), transport.url, transport.weight)]
            for further in transport.replicas:
                there = msgspec.structs.replace(transport, url=further.url)
                replicas.append(Replica(make(backend, there), further.url, further.weight))
            self.balance = Balance(replicas, transport.balance)

    def all(self) -> list[Reached]:
        if self.balance is None:
            return [(self.upstream, self.sessions)]
        return [replica.one for replica in self.balance.replicas]

    def any(self, now: float) -> Reached:
        """One that is well."""
        return (self.upstream, self.sessions) if self.balance is None else self.balance.pick(now).one

    @property
    def stateful(self) -> bool:
        """Whether a session must stay where it began: false once the server is known to give sessions no id."""
        known = [sessions.stateful for _, sessions in self.all() if sessions.stateful is not None]
        return not known or any(known)

    @property
    def in_use(self) -> int:
        """Connections of calls, and streams of those who watch the server."""
        return sum(up.pool.in_use + up.streams.in_use - sessions.besides for up, sessions in self.all())

    @property
    def idle(self) -> int:
        return sum(upstream.pool.idle for upstream, _ in self.all())

    def expire(self, idle_since: float) -> None:
        for _, sessions in self.all():
            sessions.expire(idle_since)

    def end_sessions(self) -> None:
        for _, sessions in self.all():
            sessions.close()

    def close(self) -> None:
        """Calls under way finish, nothing else is kept."""
        self.end_sessions()
        for upstream, _ in self.all():
            # Behind the goodbyes, which are on their way with this turn of the loop.
            upstream.loop.call_soon(upstream.close)

    def abort(self) -> None:
        for upstream, _ in self.all():
            upstream.abort()
