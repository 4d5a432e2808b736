"""Hashes of API keys and node tokens."""

import msgspec

from adapters.postgres.database import Database
from core.admin import KnownKey
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

    async def keep_node(self, name: str, token_hash: bytes | None, at_unix: float) -> None:
        async with self._database.connection() as conn:
            if token_hash is None:
                await conn.execute("UPDATE node_tokens SET revoked = true WHERE name = %s", (name,))
                return
            await conn.execute(
                "INSERT INTO node_tokens (name, hash, issued_at) VALUES (%s, %s, to_timestamp(%s))"
                " ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, issued_at = excluded.issued_at,"
                " revoked = false",
                (name, token_hash, at_unix),
            )
