"""Sealed values: this module never sees what is in them."""

from adapters.postgres.database import Database
from core.resource import Ref
from core.secret import Sealed

_WHERE = "tenant = %s AND kind = %s AND name = %s"


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
        statement = "SELECT kind, tenant, name, key_id, sealed FROM sealed_values WHERE key_id <> %s LIMIT %s"
        async with self._database.connection() as conn:
            rows = await (await conn.execute(statement, (key_id, limit))).fetchall()
        return [(Ref(*ref), Sealed(old_id, sealed)) for *ref, old_id, sealed in rows]

    async def reseal(self, ref: Ref, old: Sealed, new: Sealed) -> bool:
        async with self._database.connection() as conn:
            done = await conn.execute(
                f"UPDATE sealed_values SET key_id = %s, sealed = %s WHERE {_WHERE} AND sealed = %s".encode(),
                (new.key_id, new.sealed, ref.tenant, ref.kind, ref.name, old.sealed),
            )
        return done.rowcount == 1
