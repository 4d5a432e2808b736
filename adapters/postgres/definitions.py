"""Looks at servers and the definitions they taught, in PostgreSQL."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from psycopg import AsyncCursor
from psycopg.rows import TupleRow

from adapters.postgres import changes
from adapters.postgres.audit import append
from adapters.postgres.database import Connection, Database
from core.definition import Choose, Definition, Due, Fold, Known, Learnt, Look
from core.offering import Offering
from core.resource import Ref

CHANNEL = "toolgate_look"
"""Payload empty: a look is due somewhere."""
_WHERE = "tenant = ANY(%s) AND (%s = '' OR server = %s)"
_DEFINITIONS = (
    # Most definitions are what is approved: then they are read once.
    "SELECT tenant, server, name, approved, approved_digest,"
    " CASE WHEN observed_digest = approved_digest THEN '' ELSE observed END, observed_digest,"
    f" extract(epoch FROM observed_at)::float8 FROM definitions WHERE {_WHERE} ORDER BY tenant, server, name"
)
_LOOKS = f"SELECT tenant, server, look::text, offering FROM server_looks WHERE {_WHERE}"


async def known_of(conn: Connection, tenants: Sequence[str], server: str = "") -> "Pending":
    """What is known of some tenants' servers, of all or of one. In a pipeline nothing is waited for here."""
    values = (list(tenants), server, server)
    definitions = await conn.execute(_DEFINITIONS.encode(), values, binary=True)
    return Pending(definitions, await conn.execute(_LOOKS.encode(), values, binary=True))


class Pending(NamedTuple):
    """Two queries on their way."""

    definitions: AsyncCursor[TupleRow]
    looks: AsyncCursor[TupleRow]

    async def read(self) -> dict[str, dict[str, Known]]:
        """Tenant to server to Known."""
        definitions: dict[tuple[str, str], list[Definition]] = {}
        for tenant, server, *fields in await self.definitions.fetchall():
            definitions.setdefault((tenant, server), []).append(_definition(fields))
        known: dict[str, dict[str, Known]] = {}
        for tenant, server, look, offering in await self.looks.fetchall():
            known.setdefault(tenant, {})[server] = Known(
                look=msgspec.json.decode(look, type=Look),
                definitions=tuple(definitions.get((tenant, server), ())),
                offering=msgspec.msgpack.decode(offering, type=Offering) if offering else Offering(),
            )
        return known

    async def one(self) -> Known | None:
        """Of a query for one server: None when it is not scheduled."""
        for servers in (await self.read()).values():
            for known in servers.values():
                return known
        return None


def _definition(fields: Sequence[Any]) -> Definition:
    name, approved, approved_digest, observed, observed_digest, at_unix = fields
    return Definition(
        name=name,
        approved=approved,
        approved_digest=approved_digest,
        observed=approved if observed_digest == approved_digest else observed,
        observed_digest=observed_digest,
        observed_unix=at_unix,
    )


class PostgresDefinitions:
    """Definitions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known(self, tenant: str, server: str) -> Known:
        async with self._database.connection() as conn:
            return await (await known_of(conn, [tenant], server)).one() or Known()

    async def schedule(self, servers: dict[str, dict[str, bytes]]) -> None:
        rows = [(t, name, spec_digest) for t in sorted(servers) for name, spec_digest in sorted(servers[t].items())]
        columns = [[row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]]
        async with self._database.transaction() as conn:
            await conn.execute(
                "UPDATE server_looks AS l SET spec_digest = '', due_at = 'infinity' WHERE tenant = ANY(%s)"
                " AND spec_digest <> '' AND NOT EXISTS ("
                "SELECT FROM unnest(%s::text[], %s::text[]) AS w(t, name) WHERE l.tenant = t AND l.server = name)",
                (list(servers), *columns[:2]),
            )
            # A server deleted a moment ago has no row to refer to: it is simply not scheduled.
            await conn.execute(
                "INSERT INTO server_looks (tenant, server, spec_digest, look, due_at)"
                " SELECT t, w.name, w.spec_digest, '{}', now()"
                " FROM unnest(%s::text[], %s::text[], %s::bytea[]) AS w(t, name, spec_digest)"
                " JOIN resources AS r ON r.tenant = t AND r.kind = 'Server' AND r.name = w.name ORDER BY t, w.name"
                " ON CONFLICT (tenant, server) DO UPDATE SET spec_digest = excluded.spec_digest, due_at = now(),"
                " claimed_until = '-infinity', failures = 0 WHERE server_looks.spec_digest <> excluded.spec_digest",
                columns,
            )

    async def claim(self, tenants: Sequence[str], limit: int, lease_s: float) -> list[Due]:
        async with self._database.connection() as conn:
            found = await conn.execute(
                "UPDATE server_looks SET claimed_until = now() + make_interval(secs => %s) WHERE (tenant, server) IN ("
                "SELECT tenant, server FROM server_looks WHERE due_at <= now() AND claimed_until < now()"
                " AND tenant = ANY(%s) ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED)"
                " RETURNING tenant, server, failures, spec_digest",
                (lease_s, list(tenants), limit),
            )
            return [Due(*row) for row in await found.fetchall()]

    async def learn(self, due: Due, fold: Fold, *, next_look_s: float) -> Learnt | None:
        async with self._database.transaction() as conn:
            await changes.lock(conn, due.tenant)
            reach = await conn.execute(
                "SELECT spec_digest FROM server_looks WHERE tenant = %s AND server = %s FOR UPDATE",
                (due.tenant, due.server),
            )
            known = await (await known_of(conn, [due.tenant], due.server)).one()
            if known is None or await reach.fetchone() != (due.reach,):
                return None
            learnt, audit = fold(known)
            look = learnt.known.look
            await conn.execute(
                "UPDATE server_looks SET look = %s, claimed_until = '-infinity',"
                # Somebody asked for another look meanwhile: that one is still due.
                " due_at = CASE WHEN claimed_until = '-infinity' THEN due_at"
                " ELSE now() + make_interval(secs => %s) END, failures = CASE WHEN %s THEN 0 ELSE failures + 1 END"
                " WHERE tenant = %s AND server = %s",
                (msgspec.json.encode(look).decode(), next_look_s, not look.error, due.tenant, due.server),
            )
            await _write(conn, due.tenant, due.server, learnt.changed)
            if learnt.known.offering != known.offering:
                await conn.execute(
                    "UPDATE server_looks SET offering = %s WHERE tenant = %s AND server = %s",
                    (msgspec.msgpack.encode(learnt.known.offering), due.tenant, due.server),
                )
            if audit:
                await append(conn, due.tenant, audit)
            if learnt.visible:
                await _changed(conn, due.tenant, due.server)
            return learnt

    async def approve(self, tenant: str, server: str, choose: Choose) -> list[Definition]:
        async with self._database.transaction() as conn:
            await changes.lock(conn, tenant)
            known = await (await known_of(conn, [tenant], server)).one() or Known()
            approved, audit = choose(known)
            if approved:
                await _write(conn, tenant, server, approved)
                await append(conn, tenant, audit)
                await _changed(conn, tenant, server)
            return approved

    async def hasten(self, tenant: str, server: str) -> bool:
        async with self._database.transaction() as conn:
            done = await conn.execute(
                "UPDATE server_looks SET due_at = now(), claimed_until = '-infinity', failures = 0"
                " WHERE tenant = %s AND server = %s AND spec_digest <> ''",
                (tenant, server),
            )
            await conn.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
            return bool(done.rowcount)


async def _write(conn: Connection, tenant: str, server: str, definitions: Iterable[Definition]) -> None:
    """At most two statements, however many tools a server has."""
    gone: list[str] = []
    kept: list[Definition] = []
    for one in definitions:
        if one.approved_digest or one.observed_digest:
            kept.append(one)
        else:
            gone.append(one.name)
    if gone:
        await conn.execute(
            "DELETE FROM definitions WHERE tenant = %s AND server = %s AND name = ANY(%s)", (tenant, server, gone)
        )
    if kept:
        await conn.execute(
            "INSERT INTO definitions"
            " (tenant, server, name, approved, approved_digest, observed, observed_digest, observed_at)"
            " SELECT %s, %s, name, approved, approved_digest, observed, observed_digest, to_timestamp(at_unix) FROM"
            " unnest(%s::text[], %b::bytea[], %b::bytea[], %b::bytea[], %b::bytea[], %s::float8[])"
            " AS d(name, approved, approved_digest, observed, observed_digest, at_unix)"
            " ON CONFLICT (tenant, server, name) DO UPDATE SET"
            " approved = excluded.approved, approved_digest = excluded.approved_digest, observed = excluded.observed,"
            " observed_digest = excluded.observed_digest, observed_at = excluded.observed_at",
            (tenant, server, *_columns(kept)),
        )


def _columns(kept: list[Definition]) -> tuple[list[object], ...]:
    return (
        [one.name for one in kept],
        [one.approved for one in kept],
        [one.approved_digest for one in kept],
        [one.observed for one in kept],
        [one.observed_digest for one in kept],
        [one.observed_unix for one in kept],
    )


async def _changed(conn: Connection, tenant: str, server: str) -> None:
    """The tenant's next revision, as if the server had been applied: what agents see of it is another."""
    await changes.note(conn, "applied", Ref("Server", tenant, server))
