"""Connections in PostgreSQL: claimed by one replica at a time, and told of to gateways as changes of their tenant."""

from collections.abc import Collection

import msgspec

from adapters.postgres import changes
from adapters.postgres.audit import append
from adapters.postgres.database import Connection as Conn
from adapters.postgres.database import Database
from adapters.postgres.fair import fair, room_for
from core.admin import Rejected, Why
from core.audit import Entry
from core.bound import Room
from core.connection import MAX_PER_TENANT, Connection, Pending, made_for
from core.resource import Ref
from core.secret import Sealed
from core.server import Server

COLUMNS = (
    "tenant, server, subject, state, made_for, challenge, issuer, scopes, error, failures,"
    " extract(epoch FROM expires_at)::float8, version, key_id, sealed, extract(epoch FROM updated_at)::float8"
)
_OWN = (
    "kind = 'Server' AND (spec->'auth'->>'type' IN ('client_credentials', 'jwt')"
    " OR spec->'auth'->>'type' = 'id_jag' AND spec->'auth' ? 'subject_token'"
    " OR spec->'auth'->>'type' = 'token_exchange' AND spec->'auth'->>'looks' = 'client')"
)
"""As `core.onbehalf.own`."""
_CLAIM = (
    "UPDATE connections SET due_at = now() + make_interval(secs => %(lease_s)s) WHERE (tenant, server, subject) IN ("
    f"{fair('connections', 'tenant, server, subject', 'd.due_at <= now()')}) RETURNING {COLUMNS}"
)
_KEY = "tenant = %s AND server = %s AND subject = %s"
_AGAIN_S = 10.0
"""A credential that was had, or refused, less long ago is not asked for again because of a challenge."""


class PostgresConnections:
    """Connections, Clients and Links."""

    def __init__(self, database: Database, *, most: int = MAX_PER_TENANT) -> None:
        """`most`: connections of one tenant."""
        self._database = database
        self._most = most

    async def adopt(self, tenants: Collection[str] | None) -> None:
        statement = (
            "SELECT r.tenant, r.name, r.spec::text, c.made_for FROM resources AS r LEFT JOIN connections AS c"
            f" ON c.tenant = r.tenant AND c.server = r.name AND c.subject = '' WHERE r.{_OWN.replace('spec', 'r.spec')}"
        )
        async with self._database.transaction() as conn:
            if tenants is None:
                found = await conn.execute(statement.encode())
            else:
                found = await conn.execute(f"{statement} AND r.tenant = ANY(%s)".encode(), (list(tenants),))
            wanted = []
            for tenant, name, spec, known in await found.fetchall():
                server = msgspec.json.decode(spec, type=Server)
                if not server.disabled and made_for(server) != known:
                    wanted.append((tenant, name, made_for(server)))
            for row in sorted(wanted):
                await _make_due(conn, *row, "")

    async def challenged(self, tenant: str, server: str, made_for: str, challenge: str) -> None:
        async with self._database.connection() as conn:
            await conn.execute(
                "UPDATE connections SET due_at = now(), challenge = %s WHERE tenant = %s AND server = %s"
                " AND subject = '' AND made_for = %s AND state = 'connected'"
                " AND updated_at < now() - make_interval(secs => %s)",
                (challenge, tenant, server, made_for, _AGAIN_S),
            )

    async def claim(self, room: Room, lease_s: float) -> list[Connection]:
        async with self._database.connection() as conn:
            found = await conn.execute(_CLAIM.encode(), {"lease_s": lease_s, **room_for(room)})
            return [connection_of(row) for row in await found.fetchall()]

    async def get(self, tenant: str, server: str, subject: str) -> Connection | None:
        async with self._database.connection() as conn:
            return await _get(conn, tenant, server, subject)

    async def keep(
        self, connection: Connection, *, due_s: float | None, force: bool = False, entry: Entry | None = None
    ) -> bool:
        one = connection
        async with self._database.transaction() as conn:
            await changes.lock(conn, one.tenant)
            before = await _get(conn, one.tenant, one.server, one.subject)
            if not force and (before is None or before.version != one.version):
                return False
            if before is None:
                await _room(conn, one.tenant, self._most)
            sealed = one.sealed or Sealed("", b"")
            values = (
                *(one.state, one.made_for, one.challenge, one.issuer, one.scopes, one.error, one.failures),
                *(one.expires_unix, due_s, sealed.key_id, sealed.sealed),
            )
            await conn.execute(
                "INSERT INTO connections (tenant, server, subject, state, made_for, challenge, issuer, scopes, error,"
                " failures, expires_at, due_at, key_id, sealed) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
                " to_timestamp(%s), coalesce(now() + make_interval(secs => %s), 'infinity'), %s, %s)"
                " ON CONFLICT (tenant, server, subject) DO UPDATE SET (state, made_for, challenge, issuer, scopes,"
                " error, failures, expires_at, due_at, key_id, sealed, updated_at, version) = (excluded.state,"
                " excluded.made_for, excluded.challenge, excluded.issuer, excluded.scopes, excluded.error,"
                " excluded.failures, excluded.expires_at, excluded.due_at, excluded.key_id, excluded.sealed, now(),"
                " connections.version + 1)",
                (one.tenant, one.server, one.subject, *values),
            )
            if (before.sealed if before else None) != one.sealed or (before and before.made_for != one.made_for):
                await changes.note(conn, "applied", Ref("Server", one.tenant, one.server))
            if entry is not None:
                await append(conn, one.tenant, [entry])
        return True

    async def list(self, tenant: str, server: str) -> list[Connection]:
        async with self._database.connection() as conn:
            found = await conn.execute(
                f"SELECT {COLUMNS} FROM connections WHERE tenant = %s AND (%s = '' OR server = %s)"
                " ORDER BY server, subject".encode(),
                (tenant, server, server),
            )
            return [connection_of(row) for row in await found.fetchall()]

    async def drop(self, tenant: str, server: str, subject: str, entry: Entry) -> Connection | None:
        async with self._database.transaction() as conn:
            await changes.lock(conn, tenant)
            before = await _get(conn, tenant, server, subject)
            if before is not None:
                await conn.execute(f"DELETE FROM connections WHERE {_KEY}".encode(), (tenant, server, subject))
                await changes.note(conn, "applied", Ref("Server", tenant, server))
                await append(conn, tenant, [entry])
            return before

    # === Clients ===

    async def client(self, tenant: str, server: str, issuer: str, redirect: str) -> Sealed | None:
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT key_id, sealed FROM connection_clients WHERE tenant = %s AND server = %s AND issuer = %s"
                " AND redirect = %s AND expires_at > now() + interval '1 minute'",
                (tenant, server, issuer, redirect),
            )
            row = await found.fetchone()
        return Sealed(*row) if row is not None else None

    async def keep_client(  # noqa: PLR0917 - the port's
        self, tenant: str, server: str, issuer: str, redirect: str, sealed: Sealed, expires_unix: int
    ) -> Sealed:
        async with self._database.transaction() as conn:
            await conn.execute(
                "INSERT INTO connection_clients (tenant, server, issuer, redirect, expires_at, key_id, sealed)"
                " VALUES (%s, %s, %s, %s, coalesce(to_timestamp(%s), 'infinity'), %s, %s)"
                " ON CONFLICT (tenant, server, issuer) DO UPDATE SET redirect = excluded.redirect,"
                " expires_at = excluded.expires_at, key_id = excluded.key_id, sealed = excluded.sealed"
                " WHERE connection_clients.redirect <> excluded.redirect OR connection_clients.expires_at <= now()"
                " + interval '1 minute'",
                (tenant, server, issuer, redirect, expires_unix or None, sealed.key_id, sealed.sealed),
            )
            found = await conn.execute(
                "SELECT key_id, sealed FROM connection_clients WHERE tenant = %s AND server = %s AND issuer = %s",
                (tenant, server, issuer),
            )
            row = await found.fetchone()
        assert row is not None
        return Sealed(*row)

    # === Links ===

    async def follow(self, pending: Pending) -> bool:
        one = pending
        async with self._database.connection() as conn:
            done = await conn.execute(
                "INSERT INTO connection_links (id, browser, state, tenant, server, subject, key_id, sealed, expires_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, to_timestamp(%s)) ON CONFLICT (id) DO UPDATE SET"
                " state = excluded.state, key_id = excluded.key_id, sealed = excluded.sealed"
                " WHERE connection_links.browser = excluded.browser AND NOT connection_links.spent",
                (
                    *(one.link, one.browser, one.state, one.tenant, one.server, one.subject),
                    *(one.sealed.key_id, one.sealed.sealed, one.expires_unix),
                ),
            )
            return done.rowcount == 1

    async def spend(self, state: bytes, browser: bytes) -> Pending | None:
        async with self._database.connection() as conn:
            found = await conn.execute(
                "UPDATE connection_links SET spent = true WHERE state = %s AND browser = %s AND NOT spent"
                " AND expires_at > now() RETURNING id, browser, state, tenant, server, subject, key_id, sealed,"
                " extract(epoch FROM expires_at)::float8",
                (state, browser),
            )
            row = await found.fetchone()
        if row is None:
            return None
        *key, key_id, sealed, expires = row
        link, browser_, state_, tenant, server, subject = key
        return Pending(
            link=bytes(link),
            browser=bytes(browser_),
            state=bytes(state_),
            tenant=tenant,
            server=server,
            subject=subject,
            sealed=Sealed(key_id, bytes(sealed)),
            expires_unix=expires,
        )

    async def prune_links(self) -> int:
        async with self._database.connection() as conn:
            return (await conn.execute("DELETE FROM connection_links WHERE expires_at < now()")).rowcount


async def _make_due(conn: Conn, tenant: str, server: str, made_for: str, challenge: str) -> None:
    await conn.execute(
        "INSERT INTO connections (tenant, server, subject, state, made_for, challenge, issuer, scopes, error, due_at,"
        " key_id, sealed) VALUES (%s, %s, '', 'waiting', %s, %s, '', '', '', now(), '', '')"
        " ON CONFLICT (tenant, server, subject) DO UPDATE SET state = 'waiting', made_for = excluded.made_for,"
        " challenge = excluded.challenge, error = '', failures = 0, due_at = now(), key_id = '', sealed = '',"
        " version = connections.version + 1, updated_at = now()",
        (tenant, server, made_for, challenge),
    )


async def _get(conn: Conn, tenant: str, server: str, subject: str) -> Connection | None:
    found = await conn.execute(f"SELECT {COLUMNS} FROM connections WHERE {_KEY}".encode(), (tenant, server, subject))
    row = await found.fetchone()
    return connection_of(row) if row is not None else None


async def _room(conn: Conn, tenant: str, most: int) -> None:
    found = await (await conn.execute("SELECT count(*) FROM connections WHERE tenant = %s", (tenant,))).fetchone()
    if found is not None and found[0] >= most:
        raise Rejected(Why.INVALID, f"the tenant has {most} connections, which is the most")


def connection_of(row: tuple[object, ...]) -> Connection:
    """Of a row of COLUMNS."""
    *plain, key_id, sealed, updated = row
    tenant, server, subject, state, made, challenge, issuer, scopes, error, failures, expires, version = plain
    fields = {
        "tenant": tenant,
        "server": server,
        "subject": subject,
        "state": state,
        "made_for": made,
        "challenge": challenge,
        "issuer": issuer,
        "scopes": scopes,
        "error": error,
        "failures": failures,
        "expires_unix": expires,
        "version": version,
        "updated_unix": updated,
    }
    value = bytes(sealed)  # type: ignore[call-overload]
    return Connection(**fields, sealed=Sealed(str(key_id), value) if value else None)  # type: ignore[arg-type]
