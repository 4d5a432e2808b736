"""Sealed values: this module never sees what is in them."""

from adapters.postgres.database import Database
from core.resource import Ref
from core.secret import Sealed

_WHERE = "tenant = %s AND kind = %s AND name = %s"
_CONNECTION, _CLIENT = "server || ' ' || subject", "server || ' ' || issuer"
_ELSEWHERE = {
    "Connection": ("connections", f"tenant = %s AND {_CONNECTION} = %s"),
    "ConnectionClient": ("connection_clients", f"tenant = %s AND {_CLIENT} = %s"),
}
"""Kinds that are no rows of sealed_values, and where they are; names as in `core.connection`."""


class PostgresSealedValues:
    """SealedValues."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, tenant: str, kind: str) -> dict[Ref, Sealed]:
        statement = "SELECT kind, tenant, name, key_id, sealed FROM sealed_values WHERE tenant = %s AND kind = %s"
        values = [tenant, kind]
        if kind == "Tenant":
            statement += " AND name = %s"
            values = ["", kind, tenant]
        async with self._database.connection() as conn:
            rows = await (await conn.execute(statement.encode(), values)).fetchall()
        return {Ref(*ref): Sealed(key_id, sealed) for *ref, key_id, sealed in rows}

    async def one(self, ref: Ref) -> Sealed | None:
        async with self._database.connection() as conn:
            found = await conn.execute(
                f"SELECT key_id, sealed FROM sealed_values WHERE {_WHERE}".encode(), (ref.tenant, ref.kind, ref.name)
            )
            row = await found.fetchone()
        return Sealed(*row) if row is not None else None

    async def keep(self, ref: Ref, value: Sealed) -> Sealed:
        async with self._database.transaction() as conn:
            await conn.execute(
                "INSERT INTO sealed_values (tenant, kind, name, key_id, sealed) VALUES (%s, %s, %s, %s, %s)"
                " ON CONFLICT DO NOTHING",
                (ref.tenant, ref.kind, ref.name, value.key_id, value.sealed),
            )
            found = await conn.execute(
                f"SELECT key_id, sealed FROM sealed_values WHERE {_WHERE}".encode(), (ref.tenant, ref.kind, ref.name)
            )
            row = await found.fetchone()
        assert row is not None
        return Sealed(*row)

    async def not_under(self, key_id: str, limit: int) -> list[tuple[Ref, Sealed]]:
        statement = (
            "SELECT kind, tenant, name, key_id, sealed FROM sealed_values WHERE key_id <> %(key_id)s"
            f" UNION ALL SELECT 'Connection', tenant, {_CONNECTION}, key_id, sealed FROM connections"
            " WHERE key_id <> %(key_id)s AND sealed <> ''"
            f" UNION ALL SELECT 'ConnectionClient', tenant, {_CLIENT}, key_id, sealed FROM connection_clients"
            " WHERE key_id <> %(key_id)s LIMIT %(limit)s"
        )
        async with self._database.connection() as conn:
            rows = await (await conn.execute(statement.encode(), {"key_id": key_id, "limit": limit})).fetchall()
        return [(Ref(*ref), Sealed(old_id, sealed)) for *ref, old_id, sealed in rows]

    async def reseal(self, ref: Ref, old: Sealed, new: Sealed) -> bool:
        table, where = _ELSEWHERE.get(ref.kind, ("sealed_values", _WHERE))
        values = (ref.tenant, ref.name) if ref.kind in _ELSEWHERE else (ref.tenant, ref.kind, ref.name)
        async with self._database.connection() as conn:
            done = await conn.execute(
                f"UPDATE {table} SET key_id = %s, sealed = %s WHERE {where} AND sealed = %s".encode(),
                (new.key_id, new.sealed, *values, old.sealed),
            )
        return done.rowcount == 1
