"""Real PostgreSQL for tests: one embedded server a session, a fresh migrated database a test."""

import asyncio
import os
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from adapters.postgres.database import Database
from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.migrate import migrate

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "100"}
"""Nothing here has to survive the machine."""
MIGRATIONS = files("control_plane.migrations")
TEMPLATE = "toolgate_template"
KILLABLE = FAST | {"synchronous_commit": "on"}
"""For a server that is killed: what it said is committed has to survive it."""


class Server:
    """A running server that makes databases; each is a copy of a migrated template."""

    def __init__(self, embedded: EmbeddedPostgres) -> None:
        self._embedded = embedded
        asyncio.run(self._make_template())

    def dsn(self, database: str) -> str:
        return self._embedded.dsn(database)

    async def _make_template(self) -> None:
        self._execute(f'CREATE DATABASE "{TEMPLATE}"')
        database = await Database.open(self.dsn(TEMPLATE), pool_size=1)
        await migrate(database, MIGRATIONS)
        await database.close()

    @contextmanager
    def fresh(self, *, migrated: bool = True) -> Iterator[str]:
        """The DSN of a database of one's own."""
        name = f"test_{uuid.uuid4().hex}"
        template = TEMPLATE if migrated else "template0"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        try:
            yield self.dsn(name)
        finally:
            self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    @asynccontextmanager
    async def database(self, *, pool_size: int = 8) -> AsyncIterator[Database]:
        with self.fresh() as dsn:
            database = await Database.open(dsn, pool_size=pool_size)
            try:
                yield database
            finally:
                await database.close()

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as conn:
            conn.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="toolgate-pg-") as folder:
        embedded = EmbeddedPostgres(Path(folder), settings=FAST)
        asyncio.run(embedded.start())
        try:
            yield Server(embedded)
        finally:
            asyncio.run(embedded.stop())


@pytest.fixture
async def database(postgres: Server) -> AsyncIterator[Database]:
    """A fresh, migrated database."""
    async with postgres.database() as database:
        yield database


@asynccontextmanager
async def own_server() -> AsyncIterator[EmbeddedPostgres]:
    """A server for a test that kills it; not supervised: `kill` it and `start` it again."""
    with tempfile.TemporaryDirectory(prefix="toolgate-pg-") as folder:
        embedded = EmbeddedPostgres(Path(folder), settings=KILLABLE)
        await embedded.start()
        try:
            yield embedded
        finally:
            await embedded.stop()


def kill(embedded: EmbeddedPostgres) -> None:
    """SIGKILL, as an operator's worst day would have it."""
    assert embedded.pid is not None
    os.kill(embedded.pid, signal.SIGKILL)
