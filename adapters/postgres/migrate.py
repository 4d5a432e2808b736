"""Bring a database to this version's schema, once, however many replicas start together."""

import re
from importlib.resources.abc import Traversable
from itertools import pairwise
from typing import NamedTuple

from adapters.postgres.database import Connection, Database, configure

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
ADVISORY = 0x746F6F6C67617465
"""Advisory lock key: "toolgate" in ASCII."""
LOCK_TIMEOUT_S = 120
OLDEST_SERVER = 15
"""What the documentation promises; the tests run on 18."""


class SchemaTooNew(Exception):
    """The database was migrated by a newer Toolgate. Run that one, or restore an older backup."""


class ServerTooOld(Exception):
    """The database server is of a release that Toolgate does not support."""


class Migration(NamedTuple):
    version: int
    name: str
    sql: str


def load(folder: Traversable) -> list[Migration]:
    """The migrations in `folder`, in order. Raises ValueError where two share a number."""
    found = []
    for file in folder.iterdir():
        match = _FILE.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    found.sort()
    for one, other in pairwise(found):
        if one.version == other.version:
            raise ValueError(f"migrations {one.name} and {other.name} are both number {one.version:04}")
    return found


async def migrate(
    database: Database,
    folder: Traversable,
    *,
    oldest_server: int = OLDEST_SERVER,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
) -> list[str]:
    """Apply what is missing and return its names; each file is one transaction. Raises SchemaTooNew, ServerTooOld.

    A replica that starts while another migrates waits for it, however long that takes. `lock_timeout_s`: for whom
    uses the tables meanwhile.
    """
    migrations = load(folder)
    async with database.connection() as conn:
        release = conn.info.server_version // 10_000
        if release < oldest_server:
            raise ServerTooOld(f"the database server is PostgreSQL {release}; {oldest_server} or later is needed")
        await conn.execute("SET lock_timeout = 0; SET statement_timeout = 0")
        await conn.execute("SELECT pg_advisory_lock(%s)", (ADVISORY,))
        try:
            await conn.execute(f"SET lock_timeout = {int(lock_timeout_s * 1000)}")
            return await _apply(conn, migrations)
        finally:
            await conn.execute("SELECT pg_advisory_unlock(%s)", (ADVISORY,))
            await configure(conn)


async def _apply(conn: Connection, migrations: list[Migration]) -> list[str]:
    await conn.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations ("
        " version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    rows = await (await conn.execute("SELECT version, name FROM schema_migrations ORDER BY version")).fetchall()
    known = {m.version for m in migrations}
    for version, name in rows:
        if version not in known:
            raise SchemaTooNew(f"the database has migration {version:04}_{name}, which this version does not know")
    done = {version for version, _ in rows}
    applied = []
    for migration in migrations:
        if migration.version not in done:
            async with conn.transaction():
                await conn.execute(migration.sql.encode())
                await conn.execute(
                    "INSERT INTO schema_migrations (version, name) VALUES (%s, %s)", (migration.version, migration.name)
                )
            applied.append(f"{migration.version:04}_{migration.name}")
    return applied
