"""When Secrets' sources are read, in PostgreSQL: each by one replica at a time."""

import msgspec

from adapters.postgres.database import Database
from adapters.postgres.fair import fair, room_for
from core.bound import Room
from core.secret import DueSecret, Secret, source_mark

_SOURCED = "kind = 'Secret' AND spec ? 'source'"
_NEW = (
    "INSERT INTO secret_sources (tenant, name, generation, mark, due_at)"
    f" SELECT tenant, name, 0, '', now() FROM resources AS r WHERE {_SOURCED}"
    " AND NOT EXISTS (SELECT FROM secret_sources AS k WHERE k.tenant = r.tenant AND k.name = r.name)"
    " ON CONFLICT DO NOTHING"
)
_DUE = (
    "d.claimed_until < now() AND EXISTS (SELECT FROM resources AS s WHERE s.kind = 'Secret' AND s.tenant = d.tenant"
    " AND s.name = d.name AND s.spec ? 'source' AND (d.due_at <= now() OR d.generation <> s.generation))"
)
_CLAIM = (
    "UPDATE secret_sources AS k SET claimed_until = now() + make_interval(secs => %(lease_s)s),"
    " failures = CASE WHEN k.generation = r.generation THEN k.failures ELSE 0 END"
    " FROM resources AS r WHERE r.kind = 'Secret' AND r.tenant = k.tenant AND r.name = k.name"
    f" AND (k.tenant, k.name) IN ({fair('secret_sources', 'tenant, name', _DUE)})"
    " RETURNING k.tenant, k.name, r.generation, r.spec::text, k.mark, extract(epoch FROM k.seen_at)::float8, k.failures"
)
_DONE = (
    "UPDATE secret_sources AS k SET generation = %b, mark = %b, seen_at = to_timestamp(%b::float8),"
    " claimed_until = '-infinity', due_at = now() + make_interval(secs => %b),"
    " failures = CASE WHEN %b THEN 0 ELSE failures + 1 END"
    " FROM resources AS r WHERE r.kind = 'Secret' AND r.tenant = k.tenant AND r.name = k.name"
    " AND k.tenant = %b AND k.name = %b AND r.generation = %b"
)


class PostgresDueSecrets:
    """DueSecrets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, room: Room, lease_s: float) -> list[DueSecret]:
        async with self._database.transaction() as conn:
            await conn.execute(_NEW.encode())
            found = await conn.execute(_CLAIM.encode(), {"lease_s": lease_s, **room_for(room)}, binary=True)
            return [_due(*row) for row in await found.fetchall()]

    async def done(self, due: DueSecret, *, ok: bool, seen_unix: float | None, next_s: float) -> None:
        async with self._database.connection() as conn:
            await conn.execute(
                _DONE.encode(),
                (
                    *(due.generation, source_mark(due.spec), seen_unix, next_s, ok),
                    *(due.tenant, due.name, due.generation),
                ),
            )


def _due(  # noqa: PLR0917 - the columns.
    tenant: str, name: str, generation: int, spec: str, mark: bytes, seen_unix: float | None, failures: int
) -> DueSecret:
    secret = msgspec.json.decode(spec, type=Secret)
    seen = seen_unix if mark == source_mark(secret) else None
    return DueSecret(tenant, name, generation, secret, seen, failures)
