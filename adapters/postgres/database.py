"""Connections to PostgreSQL that survive its death: a pool with bounded waits, and a listener that reconnects.

Whatever means "the database is away or too slow" leaves here as `Rejected(Why.UNAVAILABLE)`; a violated constraint or a
wrong statement is a bug and leaves as psycopg's own error.
"""

import asyncio
import select
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from core.admin import Rejected, Why
from core.bound import Bound

AWAY = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    PoolTimeout,
    PoolClosed,
    TooManyRequests,
)
"""What psycopg and its pool raise when the server is away, going away, no longer the primary, or slow past a bound."""

STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_MS = 60_000
CONNECT_TIMEOUT_S = 3
AWAY_TIMEOUT_S = 0.25
"""Wait for a connection while the last request got none: long enough to connect, short enough not to pile up."""
MAX_WAITING = 1_000
"""Requests queued for a connection; above, they are refused at once."""
RECONNECT_S = 1.0
"""How long the pool retries by itself; after that the next request tries at once, so an outage never lingers."""
LISTEN_BACKOFF_S = (0.05, 2.0)
"""First and longest pause of a listener between attempts to reconnect."""
LISTEN_CHECK_S = 5.0
"""An idle listener proves its connection so often: a server that vanished without a word is noticed."""

Connection = AsyncConnection[TupleRow]


class Notice(NamedTuple):
    channel: str
    payload: str


RECONNECTED = Notice("", "")
"""First item of every `listen`, and again after each reconnection: notices may have been missed, read everything."""


def away(failure: Exception) -> Rejected:
    """The refusal for a database that cannot be reached. Its text names no host, user or statement."""
    _ = failure
    return Rejected(Why.UNAVAILABLE, "the database cannot be reached at the moment; try again")


class Database:
    """A pool of autocommit connections. Made with `open`."""

    def __init__(self, pool: AsyncConnectionPool[Connection], dsn: str, timeout_s: float) -> None:
        self._pool = pool
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._is_away = False

    @classmethod
    async def open(cls, dsn: str, *, pool_size: int = 8, timeout_s: float = 3.0) -> "Database":
        """Connect. `timeout_s` bounds every wait for a connection. Raises Rejected(UNAVAILABLE) without a server."""
        pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            dsn,
            kwargs={"autocommit": True, "connect_timeout": CONNECT_TIMEOUT_S, "application_name": "toolgate"},
            min_size=1,
            max_size=pool_size,
            max_waiting=MAX_WAITING,
            max_lifetime=3600,
            timeout=timeout_s,
            reconnect_timeout=RECONNECT_S,
            configure=configure,
            open=False,
        )
        try:
            await pool.open(wait=True, timeout=max(timeout_s, CONNECT_TIMEOUT_S))
        except AWAY as failure:
            await pool.close()
            raise away(failure) from failure
        return cls(pool, dsn, timeout_s)

    async def close(self) -> None:
        await self._pool.close()

    def bounds(self) -> dict[str, Bound]:
        """Connections in use, and requests that wait for one."""
        stats = self._pool.get_stats()
        in_use = stats.get("pool_size", 0) - stats.get("pool_available", 0)
        waiting, failed = stats.get("requests_waiting", 0), stats.get("requests_errors", 0)
        return {
            "postgres_connections": Bound(in_use, self._pool.max_size, stats.get("requests_queued", 0)),
            "postgres_waiting": Bound(waiting, MAX_WAITING, failed),
        }

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection in autocommit mode, rows as tuples. Raises Rejected(UNAVAILABLE), also from within the block."""
        try:
            await self._drop_dead()
            async with self._pool.connection(timeout=AWAY_TIMEOUT_S if self._is_away else self._timeout_s) as conn:
                self._is_away = False
                _heed_cancellation()
                yield conn
        except AWAY as failure:
            self._is_away = isinstance(failure, PoolTimeout)
            raise away(failure) from failure

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """As `connection`, in one READ COMMITTED transaction: committed when the block ends, rolled back on a raise."""
        async with self.connection() as conn, conn.transaction():
            yield conn

    async def listen(self, channels: Sequence[str]) -> AsyncIterator[Notice]:
        """Notices on `channels`, for ever, on a connection of its own. Starts with RECONNECTED; no outage ends it."""
        pause_s = LISTEN_BACKOFF_S[0]
        while True:
            try:
                async with await self._connect() as conn:
                    for channel in channels:
                        await conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    pause_s = LISTEN_BACKOFF_S[0]
                    yield RECONNECTED
                    while True:
                        async for notify in conn.notifies(timeout=LISTEN_CHECK_S):
                            yield Notice(notify.channel, notify.payload)
                        async with asyncio.timeout(LISTEN_CHECK_S):
                            await conn.execute("SELECT 1")
            except (*AWAY, TimeoutError):
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LISTEN_BACKOFF_S[1])

    async def _connect(self) -> Connection:
        return await AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="toolgate-listen"
        )

    async def _drop_dead(self) -> None:
        """Replace connections the server closed while they were idle, so that no request has to fail to find out.

        An idle connection has nothing to read unless the server said goodbye: asking the kernel costs microseconds,
        a query on every checkout would cost a round trip.
        """
        idle = [conn for conn in self._pool._pool if _has_news(conn)]  # noqa: SLF001 (the pool offers no look at what is idle)
        if idle:
            await self._pool.check()


def _heed_cancellation() -> None:
    """End a task that was told to end.

    The pool waits with `asyncio.wait_for`, which in Python 3.11 loses a cancellation that comes together with what it
    waits for: the task would go on for ever, and a plane that is told to stop would not.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _has_news(conn: Connection) -> bool:
    if conn.closed:
        return True
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


async def configure(conn: Connection) -> None:
    """As all connections of the pool are."""
    await conn.execute(
        f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}; SET lock_timeout = {LOCK_TIMEOUT_MS};"
        f" SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS}"
    )
