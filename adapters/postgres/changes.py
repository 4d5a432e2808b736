"""What changed, in commit order: locks on tenants, revisions, and the notice every replica listens for."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Literal

from adapters.postgres.database import RECONNECTED, Connection, Database
from core.resource import Ref

CHANNEL = "toolgate_changed"
"""Payload `<revision>:<tenant>`: the tenant concerned, also for its own Tenant resource; empty for the platform."""
_LOCK_CLASS = 0x7467
"""First half of the advisory locks on tenants."""


async def lock(conn: Connection, tenant: str) -> None:
    """Until the transaction ends, nothing else changes in the tenant: its changes happen one after the other."""
    await conn.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK_CLASS, tenant))


async def note(conn: Connection, kind: Literal["applied", "deleted"], ref: Ref, last: str | None = None) -> None:
    """Give a change the next revision. To be done last: everybody needs the revision's row, held until the commit."""
    concerned = ref.name if ref.kind == "Tenant" else ref.tenant
    await conn.execute(
        "WITH next AS (UPDATE revision SET latest = latest + 1 RETURNING latest),"
        " change AS (INSERT INTO changes (revision, tenant, kind, name, type, last)"
        "  SELECT latest, %s, %s, %s, %s, %s FROM next),"
        " concerned AS (INSERT INTO tenant_revisions (tenant, revision) SELECT %s, latest FROM next"
        "  ON CONFLICT (tenant) DO UPDATE SET revision = excluded.revision)"
        " SELECT pg_notify(%s, latest || ':' || %s) FROM next",
        (ref.tenant, ref.kind, ref.name, kind, last, concerned, CHANNEL, concerned),
    )


async def revisions(database: Database) -> AsyncIterator[int | None]:
    """Revisions as they are committed, for ever; None first and whenever some may have been missed."""
    notices = database.listen([CHANNEL])
    assert isinstance(notices, AsyncGenerator)
    async with aclosing(notices):
        async for notice in notices:
            yield None if notice == RECONNECTED else int(notice.payload.partition(":")[0])
