"""Issuers' keys in PostgreSQL: whose are due, and what was fetched."""

import msgspec

from adapters.postgres import changes
from adapters.postgres.database import Database
from adapters.postgres.fair import fair, room_for
from core.bound import Room
from core.issuer import Due, IdentityProvider, KeySet
from core.resource import Ref

_NEW = (
    "INSERT INTO issuer_keys (tenant, name, generation, keys, due_at)"
    " SELECT tenant, name, 0, %b, now() FROM resources AS r WHERE kind = 'IdentityProvider'"
    " AND NOT EXISTS (SELECT FROM issuer_keys AS k WHERE k.tenant = r.tenant AND k.name = r.name)"
    " ON CONFLICT DO NOTHING"
)
_DUE = (
    "d.claimed_until < now() AND EXISTS (SELECT FROM resources AS s WHERE s.kind = 'IdentityProvider'"
    " AND s.tenant = d.tenant AND s.name = d.name AND (d.due_at <= now() OR d.generation <> s.generation))"
)
_CLAIM = (
    "UPDATE issuer_keys AS k SET claimed_until = now() + make_interval(secs => %(lease_s)s),"
    " failures = CASE WHEN k.generation = r.generation THEN k.failures ELSE 0 END"
    " FROM resources AS r WHERE r.kind = 'IdentityProvider' AND r.tenant = k.tenant AND r.name = k.name"
    f" AND (k.tenant, k.name) IN ({fair('issuer_keys', 'tenant, name', _DUE)})"
    " RETURNING k.tenant, k.name, r.generation, r.spec::text, k.keys, k.failures"
)


class PostgresIssuerKeys:
    """IssuerKeys and KnownKeys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, room: Room, lease_s: float) -> list[Due]:
        async with self._database.transaction() as conn:
            await conn.execute(_NEW.encode(), (msgspec.msgpack.encode(KeySet()),))
            found = await conn.execute(_CLAIM.encode(), {"lease_s": lease_s, **room_for(room)}, binary=True)
            return [
                Due(
                    tenant,
                    name,
                    generation,
                    msgspec.json.decode(spec, type=IdentityProvider),
                    msgspec.msgpack.decode(keys, type=KeySet),
                    failures,
                )
                for tenant, name, generation, spec, keys, failures in await found.fetchall()
            ]

    async def learn(self, due: Due, keys: KeySet | None, *, next_s: float, publish: bool) -> bool:
        async with self._database.transaction() as conn:
            await changes.lock(conn, due.tenant)
            done = await conn.execute(
                "UPDATE issuer_keys AS k SET generation = %b, keys = coalesce(%b, k.keys), claimed_until = '-infinity',"
                " due_at = now() + make_interval(secs => %b), failures = CASE WHEN %b THEN 0 ELSE failures + 1 END"
                " FROM resources AS r WHERE r.kind = 'IdentityProvider' AND r.tenant = k.tenant AND r.name = k.name"
                " AND k.tenant = %b AND k.name = %b AND r.generation = %b",
                (
                    *(due.generation, msgspec.msgpack.encode(keys) if keys is not None else None, next_s),
                    *(keys is not None, due.tenant, due.name, due.generation),
                ),
            )
            kept = bool(done.rowcount)
            if kept and publish:
                # As if it had been applied: what gateways hold of it is another.
                await changes.note(conn, "applied", Ref("IdentityProvider", due.tenant, due.name))
            return kept

    async def known(self, tenant: str, name: str) -> KeySet:
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT keys FROM issuer_keys WHERE tenant = %s AND name = %s", (tenant, name), binary=True
            )
            row = await found.fetchone()
        return msgspec.msgpack.decode(row[0], type=KeySet) if row is not None else KeySet()

    async def hasten(self, tenant: str, name: str) -> None:
        async with self._database.connection() as conn:
            # Not one that is being fetched, nor one that failed: that has a pause of its own.
            await conn.execute(
                "UPDATE issuer_keys SET due_at = now() WHERE tenant = %s AND name = %s AND failures = 0"
                " AND due_at > now() AND claimed_until < now()",
                (tenant, name),
            )
