"""Hashes of API keys and node tokens."""

import msgspec

from adapters.postgres.audit import append
from adapters.postgres.database import Database
from core.admin import KnownKey
from core.audit import Entry
from core.identity import ApiKey


class PostgresCredentials:
    """Credentials."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def key(self, key_hash: bytes) -> KnownKey | None:
        statement = (
            "SELECT tenant, name, spec::text FROM key_hashes JOIN resources USING (tenant, kind, name) WHERE hash = %s"
        )
        async with self._database.connection() as conn:
            row = await (await conn.execute(statement, (key_hash,))).fetchone()
        return KnownKey(row[0], row[1], msgspec.json.decode(row[2], type=ApiKey)) if row is not None else None

    async def key_hashes(self, tenant: str) -> dict[str, bytes]:
        async with self._database.connection() as conn:
            found = await conn.execute("SELECT name, hash FROM key_hashes WHERE tenant = %s", (tenant,))
            return {name: bytes(key_hash) for name, key_hash in await found.fetchall()}

    async def node(self, token_hash: bytes) -> str | None:
        async with self._database.connection() as conn:
            found = await conn.execute("SELECT name FROM node_tokens WHERE hash = %s AND NOT revoked", (token_hash,))
            row = await found.fetchone()
        return str(row[0]) if row is not None else None

    async def keep_node(self, name: str, token_hash: bytes | None, entry: Entry) -> bool:
        async with self._database.transaction() as conn:
            if token_hash is None:
                done = await conn.execute(
                    "UPDATE node_tokens SET revoked = true WHERE name = %s AND NOT revoked", (name,)
                )
            else:
                # A token that was revoked stays so, however often it is handed in again.
                done = await conn.execute(
                    "INSERT INTO node_tokens (name, hash, issued_at) VALUES (%s, %s, to_timestamp(%s))"
                    " ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, issued_at = excluded.issued_at,"
                    " revoked = false WHERE node_tokens.hash <> excluded.hash",
                    (name, token_hash, entry.at_unix),
                )
            if done.rowcount:
                await append(conn, "", [entry])
            return bool(done.rowcount)
