"""A real PostgreSQL for every test here, migrated and empty."""

import asyncio
import itertools
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from adapters.postgres.database import Database
from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.migrate import migrate

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(Path(tmp_path_factory.mktemp("pg")), settings={"fsync": "off"})
    asyncio.run(server.start())
    asyncio.run(_template(server))
    yield server
    asyncio.run(server.stop())


async def _template(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as conn:
        conn.execute("CREATE DATABASE toolgate_template")
    database = await Database.open(server.dsn("toolgate_template"))
    await migrate(database, files("control_plane.migrations"))
    await database.close()


@pytest.fixture
def dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    name = f"fleet_{next(_numbers)}"
    with psycopg.connect(postgres.dsn(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE toolgate_template".encode())
    yield postgres.dsn(name)
    with psycopg.connect(postgres.dsn(), autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
