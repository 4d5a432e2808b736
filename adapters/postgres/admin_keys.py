"""Hashes of API keys and node tokens."""

import msgspec
from psycopg.rows import TupleRow

from adapters.postgres.audit import append
from adapters.postgres.database import Connection, Database
from core.admin import KnownKey
from core.audit import Entry
from core.identity import AdminPermission, ApiKey
from core.node_token import NodeToken

CHANNEL = "toolgate_node_tokens"
"""Payload: the token's name."""
_TOKENS = (
    "SELECT name, nodes, tenants, extract(epoch FROM expires_at)::float8, extract(epoch FROM issued_at)::float8,"
    " revoked FROM node_tokens"
)


class PostgresCredentials:
    """Credentials."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def key(self, key_hash: bytes) -> KnownKey | None:
        statement = (
            "SELECT tenant, name, spec::text FROM key_hashes JOIN resources USING (tenant, kind, name)"
            " WHERE hash = %s OR (previous = %s AND previous_until > now())"
        )
        async with self._database.connection() as conn:
            row = await (await conn.execute(statement, (key_hash, key_hash))).fetchone()
            if row is None:
                return None
            spec = msgspec.json.decode(row[2], type=ApiKey)
            held = await _held(conn, row[0], spec.user) if spec.user and spec.admin_role is not None else ()
        return KnownKey(row[0], row[1], spec, held)

    async def node(self, token_hash: bytes) -> NodeToken | None:
        async with self._database.connection() as conn:
            found = await conn.execute(f"{_TOKENS} WHERE hash = %s AND NOT revoked".encode(), (token_hash,))
            row = await found.fetchone()
        return _token(row) if row is not None else None

    async def nodes(self) -> list[NodeToken]:
        async with self._database.connection() as conn:
            return [_token(row) for row in await (await conn.execute(f"{_TOKENS} ORDER BY name".encode())).fetchall()]

    async def keep_node(self, token: NodeToken, token_hash: bytes | None, entry: Entry) -> bool:
        async with self._database.transaction() as conn:
            if token_hash is None:
                done = await conn.execute(
                    "UPDATE node_tokens SET revoked = true WHERE name = %s AND NOT revoked", (token.name,)
                )
            else:
                # A token that was revoked stays so, however often it is handed in again.
                done = await conn.execute(
                    "INSERT INTO node_tokens (name, hash, issued_at, nodes, tenants, expires_at)"
                    " VALUES (%s, %s, to_timestamp(%s), %s, %s, to_timestamp(%s))"
                    " ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, issued_at = excluded.issued_at,"
                    " nodes = excluded.nodes, tenants = excluded.tenants, expires_at = excluded.expires_at,"
                    " revoked = false WHERE node_tokens.hash <> excluded.hash",
                    (
                        *(token.name, token_hash, entry.at_unix),
                        *(list(token.nodes), list(token.tenants), token.expires_unix),
                    ),
                )
            if done.rowcount:
                await append(conn, "", [entry])
                await conn.execute("SELECT pg_notify(%s, %s)", (CHANNEL, token.name))
            return bool(done.rowcount)


_HELD = (
    "SELECT role.spec->'admin' FROM resources bound"
    " JOIN resources role ON role.tenant = bound.tenant AND role.kind = 'Role' AND role.name = bound.spec->>'role'"
    " JOIN resources person ON person.tenant = bound.tenant AND person.kind = 'User' AND person.name = %s"
    " WHERE bound.tenant = %s AND bound.kind = 'RoleBinding' AND role.spec ? 'admin'"
    " AND bound.spec->'subjects' @> %s::jsonb AND NOT coalesce((person.spec->>'disabled')::bool, false)"
    " ORDER BY bound.name"
)


async def _held(conn: Connection, tenant: str, user: str) -> tuple[AdminPermission, ...]:
    """By name alone: editors say who is in a group, and must not make themselves more than they are by that."""
    subject = msgspec.json.encode([{"kind": "user", "name": user}]).decode()
    rows = await (await conn.execute(_HELD, (user, tenant, subject))).fetchall()
    return tuple(one for (granted,) in rows for one in msgspec.convert(granted, type=list[AdminPermission]))


def _token(row: TupleRow) -> NodeToken:
    name, nodes, tenants, expires, issued, revoked = row
    return NodeToken(
        name=name,
        nodes=tuple(nodes),
        tenants=tuple(tenants),
        expires_unix=expires,
        issued_unix=issued,
        revoked=revoked,
    )
