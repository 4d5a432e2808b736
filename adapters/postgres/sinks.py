"""How far audit sinks have come."""

import msgspec

from adapters.postgres.database import Database
from adapters.postgres.fair import fair, room_for
from core.audit_sink import AuditSink, Place
from core.bound import Room

_NEW = (
    "INSERT INTO audit_sinks (tenant, name, seq)"
    " SELECT r.tenant, r.name, coalesce((SELECT seq FROM audit_heads AS h WHERE h.tenant = r.tenant), 0)"
    " FROM resources AS r WHERE kind = 'AuditSink'"
    " AND NOT EXISTS (SELECT FROM audit_sinks AS k WHERE k.tenant = r.tenant AND k.name = r.name)"
    " ON CONFLICT DO NOTHING"
)
_DUE = (
    "d.claimed_until < now() AND d.due_at <= now()"
    " AND EXISTS (SELECT FROM audit_heads AS h WHERE h.tenant = d.tenant AND h.seq > d.seq)"
)
_CLAIM = (
    "UPDATE audit_sinks AS k SET claimed_until = now() + make_interval(secs => %(lease_s)s)"
    " FROM resources AS r WHERE r.kind = 'AuditSink' AND r.tenant = k.tenant AND r.name = k.name"
    f" AND (k.tenant, k.name) IN ({fair('audit_sinks', 'tenant, name', _DUE)})"
    " RETURNING k.tenant, k.name, r.spec::text, k.seq, k.failures"
)


class PostgresPlaces:
    """Places."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, room: Room, lease_s: float) -> list[Place]:
        async with self._database.transaction() as conn:
            await conn.execute(_NEW.encode())
            found = await conn.execute(_CLAIM.encode(), {"lease_s": lease_s, **room_for(room)}, binary=True)
            return [
                Place(
                    tenant=tenant,
                    name=name,
                    spec=msgspec.json.decode(spec, type=AuditSink),
                    seq=seq,
                    failures=failures,
                )
                for tenant, name, spec, seq, failures in await found.fetchall()
            ]

    async def moved(self, place: Place, seq: int, *, next_s: float, failed: bool) -> None:
        async with self._database.connection() as conn:
            await conn.execute(
                "UPDATE audit_sinks SET seq = greatest(seq, %s), claimed_until = '-infinity',"
                " due_at = now() + make_interval(secs => %s), failures = CASE WHEN %s THEN failures + 1 ELSE 0 END"
                " WHERE tenant = %s AND name = %s",
                (seq, next_s, failed, place.tenant, place.name),
            )
