"""Decision inputs in PostgreSQL: capped per tenant, so that no tenant's arguments fill the disk of all."""

from collections.abc import AsyncIterator, Sequence

from adapters.postgres.database import Connection, Database
from core.decision_inputs import Asking, Recorded

INPUTS_MAX = 20_000
"""Different inputs of a tenant."""
ROWS_MAX = 100_000
"""Rows of a tenant's day."""
READ_ROWS = 500
PAGE = 100

_ADD_INPUT = (
    "INSERT INTO decision_inputs (tenant, mark, input, last_day) VALUES (%s, %s, %s, %s)"
    " ON CONFLICT (tenant, mark) DO UPDATE SET last_day = greatest(decision_inputs.last_day, excluded.last_day)"
)
_ADD_CALLS = (
    "INSERT INTO decision_calls (tenant, day, mark, caller, calls, allowed, differed, shadow)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
    " ON CONFLICT (tenant, day, mark, caller) DO UPDATE SET calls = decision_calls.calls + excluded.calls,"
    " allowed = decision_calls.allowed + excluded.allowed, differed = decision_calls.differed + excluded.differed,"
    " shadow = coalesce(nullif(excluded.shadow, ''), decision_calls.shadow)"
)
_WINDOW = (
    "SELECT mark, caller, calls, allowed FROM (SELECT mark, caller, sum(calls)::bigint AS calls,"
    " sum(allowed)::bigint AS allowed FROM decision_calls WHERE tenant = %s AND day >= %s"
    " GROUP BY mark, caller ORDER BY calls DESC, caller LIMIT %s) AS asked"
    " ORDER BY max(calls) OVER (PARTITION BY mark) DESC, mark, calls DESC, caller"
)
_INPUTS = "SELECT mark, input FROM decision_inputs WHERE tenant = %s AND mark = ANY(%s)"

_DIFFERENCES = (
    "SELECT kept.input, c.caller, sum(c.calls)::bigint, sum(c.allowed)::bigint, sum(c.differed)::bigint,"
    " (array_agg(c.shadow ORDER BY c.day DESC) FILTER (WHERE c.shadow <> ''))[1] FROM decision_calls AS c"
    " LEFT JOIN decision_inputs AS kept ON kept.tenant = c.tenant AND kept.mark = c.mark"
    " WHERE c.tenant = %s AND c.day >= %s AND c.differed > 0"
    " GROUP BY c.mark, kept.input, c.caller ORDER BY 5 DESC, c.caller LIMIT %s"
)


class PostgresDecisionInputs:
    """DecisionInputs."""

    def __init__(
        self, database: Database, *, inputs_max: int = INPUTS_MAX, rows_max: int = ROWS_MAX, page: int = PAGE
    ) -> None:
        """`page`: rows of a window that are in memory with their inputs."""
        self._database = database
        self._inputs_max = inputs_max
        self._rows_max = rows_max
        self._page = page

    async def note(self, askings: Sequence[Asking], inputs: dict[tuple[str, bytes], bytes]) -> int:
        dropped = 0
        # In one order everywhere: two that share rows must not wait for each other.
        askings = sorted(askings, key=lambda one: (one.tenant, one.day, one.mark, one.caller))
        days = {(one.tenant, one.mark): one.day for one in askings}
        async with self._database.transaction() as conn:
            room: dict[tuple[str, str, int], int] = {}
            for tenant, mark in sorted(inputs):
                if await self._fits(conn, room, ("decision_inputs", tenant, 0)):
                    await conn.execute(_ADD_INPUT, (tenant, mark, inputs[tenant, mark], days.get((tenant, mark), 0)))
                else:
                    dropped += 1
            for one in askings:
                if await self._fits(conn, room, ("decision_calls", one.tenant, one.day)):
                    values = (
                        one.tenant,
                        one.day,
                        one.mark,
                        one.caller,
                        one.calls,
                        one.allowed,
                        one.differed,
                        one.shadow,
                    )
                    await conn.execute(_ADD_CALLS, values)
                else:
                    dropped += 1
        return dropped

    async def _fits(self, conn: Connection, room: dict[tuple[str, str, int], int], key: tuple[str, str, int]) -> bool:
        """Whether there may be another row; counted once a batch."""
        table, tenant, day = key
        if key not in room:
            where, most = ("tenant = %s AND day = %s", self._rows_max) if day else ("tenant = %s", self._inputs_max)
            query = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {where} LIMIT %s) AS found"
            values = (tenant, day, most) if day else (tenant, most)
            row = await (await conn.execute(query.encode(), values)).fetchone()
            room[key] = most - (row[0] if row else 0)
        room[key] -= 1
        return room[key] >= 0

    async def window(self, tenant: str, since_day: int, limit: int) -> AsyncIterator[list[Recorded]]:
        """Who asked what is read at once, a hundred bytes a row; the inputs, which are large, by their digests."""
        asked: list[tuple[bytes, str, int, int]] = []
        async with self._database.transaction() as conn, conn.cursor(name="asked") as cursor:
            await cursor.execute(_WINDOW.encode(), (tenant, since_day, limit))
            while some := await cursor.fetchmany(READ_ROWS):
                asked += [(bytes(mark), *rest) for mark, *rest in some]
        for at in range(0, len(asked), self._page):
            page = asked[at : at + self._page]
            inputs = await self._inputs(tenant, {mark for mark, *_ in page})
            yield [
                Recorded(input=inputs.get(mark), caller=caller, calls=calls, allowed=allowed)
                for mark, caller, calls, allowed in page
            ]

    async def _inputs(self, tenant: str, marks: set[bytes]) -> dict[bytes, bytes]:
        async with self._database.connection() as conn:
            found = await conn.execute(_INPUTS, (tenant, sorted(marks)))
            return {bytes(mark): bytes(raw) for mark, raw in await found.fetchall()}

    async def differences(self, tenant: str, since_day: int, limit: int) -> list[Recorded]:
        async with self._database.connection() as conn:
            found = await conn.execute(_DIFFERENCES.encode(), (tenant, since_day, limit))
            return [
                Recorded(
                    input=bytes(raw) if raw is not None else None,
                    caller=caller,
                    calls=calls,
                    allowed=allowed,
                    differed=differed,
                    shadow=shadow,
                )
                for raw, caller, calls, allowed, differed, shadow in await found.fetchall()
            ]

    async def prune(self, tenant: str, before_day: int) -> int:
        async with self._database.transaction() as conn:
            gone = await conn.execute("DELETE FROM decision_calls WHERE tenant = %s AND day < %s", (tenant, before_day))
            also = await conn.execute(
                "DELETE FROM decision_inputs WHERE tenant = %s AND last_day < %s", (tenant, before_day)
            )
            return gone.rowcount + also.rowcount

    async def tenants(self) -> list[str]:
        query = "SELECT DISTINCT tenant FROM decision_calls UNION SELECT DISTINCT tenant FROM decision_inputs"
        async with self._database.connection() as conn:
            return [row[0] for row in await (await conn.execute(query)).fetchall()]
