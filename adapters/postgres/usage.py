"""What is used of quotas."""

from adapters.postgres.database import Database
from core.limits import Grant
from core.quota import Lease, Usage, Used, period_of, read_name

USED_MAX = 10_000
"""Counts told of at once: of quotas by user, the most used."""


class PostgresUsage(Usage):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def lease(self, tenant: str, lease: Lease, now_unix: float) -> Grant:
        begins, ends = period_of(lease, now_unix)
        at = (tenant, lease.name, begins)
        async with self._database.transaction() as conn:
            if lease.want < 0:
                await conn.execute(
                    "UPDATE quota_usage SET used = greatest(0, used + %s)"
                    " WHERE tenant = %s AND name = %s AND begins = %s",
                    (lease.want, *at),
                )
                return Grant(0)
            await conn.execute(
                "INSERT INTO quota_usage (tenant, name, begins, period, ends, used) VALUES (%s, %s, %s, %s, %s, 0)"
                " ON CONFLICT DO NOTHING",
                (*at, lease.period, ends),
            )
            found = await conn.execute(
                "SELECT used FROM quota_usage WHERE tenant = %s AND name = %s AND begins = %s FOR UPDATE", at
            )
            row = await found.fetchone()
            assert row is not None
            granted = max(0, min(lease.want, lease.amount - row[0]))
            if granted:
                await conn.execute(
                    "UPDATE quota_usage SET used = used + %s WHERE tenant = %s AND name = %s AND begins = %s",
                    (granted, *at),
                )
        return Grant(granted, 0.0 if granted == lease.want else max(0.001, ends - now_unix))

    async def used(self, tenant: str, now_unix: float) -> list[Used]:
        query = (
            "SELECT name, period, begins, ends, used FROM quota_usage"
            " WHERE tenant = %s AND begins <= %s AND ends > %s ORDER BY used DESC, name LIMIT %s"
        )
        async with self._database.connection() as conn:
            rows = await (await conn.execute(query, (tenant, now_unix, now_unix, USED_MAX))).fetchall()
        return [
            Used(quota=named.limit, period=period, begins=begins, ends=ends, values=named.values, used=used)
            for name, period, begins, ends, used in rows
            if (named := read_name(name)) is not None
        ]

    async def forget(self, before_unix: float) -> int:
        async with self._database.connection() as conn:
            return (await conn.execute("DELETE FROM quota_usage WHERE ends <= %s", (int(before_unix),))).rowcount
