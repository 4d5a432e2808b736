"""What sidecars tell of themselves and of what they decided."""

from collections.abc import Sequence

from adapters.postgres.database import Database
from core.opa import SIDECARS_MAX, SidecarDecision, SidecarState

_STATE = "tenant, id, version, revision, problem, seen_at, decisions, denied, failed"


class PostgresSidecars:
    """SidecarBook."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def state(self, state: SidecarState) -> None:
        values = (state.tenant, state.id, state.version, state.revision, state.problem, state.seen_unix)
        async with self._database.transaction() as conn:
            await conn.execute(
                "INSERT INTO opa_sidecars (tenant, id, version, revision, problem, seen_at)"
                " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (tenant, id) DO UPDATE SET version = EXCLUDED.version,"
                " revision = EXCLUDED.revision, problem = EXCLUDED.problem, seen_at = EXCLUDED.seen_at",
                values,
            )
            await conn.execute(
                "DELETE FROM opa_sidecars WHERE tenant = %s AND id IN"
                " (SELECT id FROM opa_sidecars WHERE tenant = %s ORDER BY seen_at DESC OFFSET %s)",
                (state.tenant, state.tenant, SIDECARS_MAX),
            )

    async def decided(self, tenant: str, sidecar: str, decisions: Sequence[SidecarDecision], now: float) -> int:
        columns = (
            [one.id for one in decisions],
            [one.at_unix for one in decisions],
            [one.revision for one in decisions],
            [one.path for one in decisions],
            [one.allowed for one in decisions],
            ["\x1f".join(one.reasons) for one in decisions],
        )
        async with self._database.transaction() as conn:
            found = await conn.execute(
                "INSERT INTO opa_decisions (tenant, id, sidecar, at, revision, path, allowed, reasons)"
                " SELECT %s, one.id, %s, one.at, one.revision, one.path, one.allowed,"
                " string_to_array(one.reasons, E'\\x1f')"
                " FROM unnest(%s::text[], %s::float8[], %s::text[], %s::text[], %s::bool[], %s::text[])"
                " AS one (id, at, revision, path, allowed, reasons) ON CONFLICT DO NOTHING RETURNING allowed",
                (tenant, sidecar, *columns),
            )
            new = [allowed for (allowed,) in await found.fetchall()]
            counts = (len(new), new.count(False), new.count(None))
            await conn.execute(
                "INSERT INTO opa_sidecars (tenant, id, seen_at, decisions, denied, failed)"
                " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (tenant, id) DO UPDATE SET seen_at = EXCLUDED.seen_at,"
                " decisions = opa_sidecars.decisions + EXCLUDED.decisions,"
                " denied = opa_sidecars.denied + EXCLUDED.denied, failed = opa_sidecars.failed + EXCLUDED.failed",
                (tenant, sidecar, now, *counts),
            )
        return len(new)

    async def sidecars(self, tenant: str) -> list[SidecarState]:
        query = f"SELECT {_STATE} FROM opa_sidecars WHERE tenant = %s ORDER BY id"
        async with self._database.connection() as conn:
            rows = await (await conn.execute(query.encode(), (tenant,))).fetchall()
        return [
            SidecarState(
                tenant=of,
                id=id_,
                version=version,
                revision=revision,
                problem=problem,
                seen_unix=seen,
                decisions=decisions,
                denied=denied,
                failed=failed,
            )
            for of, id_, version, revision, problem, seen, decisions, denied, failed in rows
        ]

    async def decisions(self, tenant: str, limit: int) -> list[tuple[str, SidecarDecision]]:
        query = (
            "SELECT sidecar, id, at, revision, path, allowed, reasons FROM opa_decisions WHERE tenant = %s"
            " ORDER BY at DESC LIMIT %s"
        )
        async with self._database.connection() as conn:
            rows = await (await conn.execute(query, (tenant, limit))).fetchall()
        return [
            (
                sidecar,
                SidecarDecision(
                    id=id_, at_unix=at, revision=revision, path=path, allowed=allowed, reasons=tuple(reasons)
                ),
            )
            for sidecar, id_, at, revision, path, allowed, reasons in rows
        ]

    async def prune(self, before_unix: float) -> int:
        async with self._database.transaction() as conn:
            gone = await conn.execute("DELETE FROM opa_sidecars WHERE seen_at < %s", (before_unix,))
            decided = await conn.execute("DELETE FROM opa_decisions WHERE at < %s", (before_unix,))
            return gone.rowcount + decided.rowcount
