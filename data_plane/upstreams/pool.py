"""Keep-alive connections to one server: reused, capped, waited for in turn, expired when idle."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from core.bound import Hits
from data_plane.outbox import Outbox
from data_plane.upstreams.breaker import Breaker
from data_plane.upstreams.connection import Connection
from data_plane.upstreams.failure import overloaded, unavailable, unsent

Dial = Callable[[Callable[[], Connection]], Awaitable[Connection]]
"""Opens a connection made by the given factory. Raises Unavailable."""

MAX_WAITERS = 4096
_IDLE_S = 30.0
# A caller that waited in vain hears that the pool was full, not that the server was late: its own timer rings first.
_BEFORE_DEADLINE_S = 0.005


class PoolHits:
    """`full`: calls that found every connection taken. `refused`: those among them that got none in the end."""

    def __init__(self) -> None:
        self.full, self.refused = Hits(), Hits()


class Pool:
    """A connection is in exactly one place: being dialled, idle here, or with the caller that took it."""

    def __init__(
        self,
        dial: Dial,
        *,
        max_connections: int,
        outbox: Outbox,
        idle_s: float = _IDLE_S,
        hits: PoolHits | None = None,
    ) -> None:
        self._dial = dial
        self._hits = hits or PoolHits()
        self._max = max_connections
        self._idle_s = idle_s
        self._outbox = outbox
        self._breaker = Breaker()
        self._open: set[Connection] = set()
        self._dialling = 0
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._reaper: asyncio.TimerHandle | None = None
        self._closed = False
        self._now = asyncio.get_running_loop().time

    @property
    def in_use(self) -> int:
        return len(self._open) + self._dialling - len(self._idle)

    @property
    def cap(self) -> int:
        return self._max

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return not self._idle and len(self._open) + self._dialling >= self._max

    @property
    def idle(self) -> int:
        return len(self._idle)

    def take(self) -> Connection | None:
        """An idle connection that is open as far as this machine can know; the one used last, so that others expire."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(self._now()):
                return connection
            connection.abandon()
        return None

    async def acquire(self, deadline: float) -> Connection:
        """A connection, by `deadline` in the loop's time. Raises Unavailable (OVERLOADED when all stay taken)."""
        while not self._closed:
            connection = self.take()
            if connection is not None:
                return connection
            if len(self._open) + self._dialling < self._max:
                return await self._connect()
            connection = await self._wait(deadline)
            if connection is not None and connection.usable(self._now()):
                return connection
        raise unavailable("the server's settings changed while the call waited")

    def close(self) -> None:
        """Close what is idle; a connection in use closes when its exchange ends."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        while self._idle:
            self._idle.pop().abandon()
        while self._waiting:
            self._wake(None)

    def abort(self) -> None:
        """Close everything now."""
        self.close()
        for connection in list(self._open):
            connection.cut()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        wait_s = self._breaker.wait_s(loop.time())
        if wait_s:
            raise unsent("the last attempts to connect failed: not trying for a moment", retry_after_s=wait_s)
        self._dialling += 1
        connected = False
        try:
            connection = await self._dial(lambda: Connection(self._freed, self._lost, self._outbox))
            connected = True
        except Exception:
            # Not for a cancelled attempt: that says nothing about the server.
            self._breaker.failed(loop.time())
            raise
        finally:
            self._dialling -= 1
            if not connected:
                self._wake(None)
        self._breaker.succeeded()
        if self._closed:
            connection.abandon()
            raise unavailable("the server's settings changed while the call connected")
        self._open.add(connection)
        return connection

    async def _wait(self, deadline: float) -> Connection | None:
        """In turn. None: there is room to connect."""
        self._hits.full.count += 1
        if len(self._waiting) >= MAX_WAITERS:
            self._hits.refused.count += 1
            raise overloaded(f"{MAX_WAITERS} calls already wait for a connection")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Connection | None] = loop.create_future()
        timer = loop.call_at(deadline - _BEFORE_DEADLINE_S, self._give_up, turn)
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            self._pass_on(turn)
            raise
        finally:
            timer.cancel()
            if not turn.done() or turn.cancelled() or turn.exception() is not None:
                self._forget(turn)

    def _give_up(self, turn: asyncio.Future[Connection | None]) -> None:
        if not turn.done():
            self._hits.refused.count += 1
            turn.set_exception(overloaded(f"all {self._max} connections stayed taken"))

    def _pass_on(self, turn: asyncio.Future[Connection | None]) -> None:
        """The caller went away in the very moment it was served: what it was given goes to the next."""
        if turn.cancelled() or not turn.done() or turn.exception() is not None:
            return
        connection = turn.result()
        if connection is None:
            self._wake(None)
        else:
            self._freed(connection)

    def _forget(self, turn: asyncio.Future[Connection | None]) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)

    def _wake(self, connection: Connection | None) -> bool:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    def _freed(self, connection: Connection) -> None:
        if self._closed:
            connection.abandon()
            return
        if self._waiting and self._wake(connection):
            return
        connection.free_since = self._now()
        self._idle.append(connection)
        if self._reaper is None:
            self._reaper = asyncio.get_running_loop().call_later(min(self._idle_s, 1.0), self._reap)

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake(None)

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._idle):
            if now - connection.free_since >= min(self._idle_s, connection.idle_limit_s):
                self._idle.remove(connection)
                connection.abandon()
        self._reaper = loop.call_later(min(self._idle_s, 1.0), self._reap) if self._idle else None
