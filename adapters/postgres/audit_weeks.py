"""The tables of weeks that the audit log is made of: made ahead, their bulk moved out when old, dropped when empty."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import psycopg
from psycopg import sql

from adapters.postgres.audit_bulk import OBJECT_BYTES, OBJECT_ROWS, Archive, archive_of, packed
from adapters.postgres.audit_row import COLUMNS, row_of
from adapters.postgres.database import LOCK_TIMEOUT_MS, Connection, Database
from core.admin import AuditRow, Rejected, Why
from core.objects import Objects, ObjectsAway

WEEK = timedelta(days=7)
AHEAD = 4
LOCK = 0x61756474
"""Advisory lock: one replica at a time makes, rewrites and drops tables."""
DONE = "details are in objects"
"""Comment of a table whose week is done."""
READ_ROWS = 500
BRIEF_MS = 2_000
"""How long everybody may have to wait behind a table that is exchanged."""

log = logging.getLogger("toolgate.audit")


def monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def today() -> date:
    return datetime.now(UTC).date()


class AuditWeeks:
    """What housekeeping does. Raises Rejected(UNAVAILABLE)."""

    def __init__(
        self,
        database: Database,
        objects: Objects | None,
        *,
        object_bytes: int = OBJECT_BYTES,
        read_rows: int = READ_ROWS,
    ) -> None:
        """`object_bytes`: of details; the row that reaches it is the last of its object. `read_rows`: read at once."""
        self._database = database
        self._objects = objects
        self._object_bytes = object_bytes
        self._read_rows = read_rows

    async def keep(self, after: timedelta) -> int:
        """Tables ahead, bulk out `after` its week, what is empty gone; how many rows, objects and tables that were."""
        await self.prepare()
        moved = await self.archive(today() - after)
        return moved + await self.forget() + await self.drop_empty(today())

    async def prepare(self, first: date | None = None) -> None:
        """Tables for the week of that day (None: this one) and some that follow."""
        start = monday(first or today())
        for number in range(AHEAD + 1):
            await self._make(start + number * WEEK)

    async def _make(self, week: date) -> None:
        """Where rows of that week lie among the others already they stay there."""
        table = sql.Identifier(_name(week))
        try:
            async with self._database.transaction() as conn:
                if await _exists(conn, _name(week)):
                    return
                # Another replica may hold it while it moves a week's bulk out: that takes as long as it takes.
                await conn.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
                await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                if await _exists(conn, _name(week)):
                    return
                await conn.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
                await conn.execute(sql.SQL("CREATE TABLE {} (LIKE audit INCLUDING DEFAULTS)").format(table))
                # All rows of weeks without a table are read, should there be any.
                await conn.execute(_attach(week, table))
        except psycopg.errors.CheckViolation:
            log.info("rows of the week of %s are in the table of all other weeks, and stay there", week)
        except psycopg.errors.InvalidObjectDefinition:
            log.info("rows of the week of %s are in the table of all weeks before there were any, and stay there", week)

    async def archive(self, before: date) -> int:
        """Move details of rows out of weeks that ended by then; how many rows. Raises Rejected(UNAVAILABLE)."""
        if self._objects is None:
            return 0
        moved = 0
        for week in await self._weeks():
            if week + WEEK <= before:
                moved += await self._archive(week, self._objects)
        return moved

    async def _archive(self, week: date, objects: Objects) -> int:
        async with self._database.connection() as conn:
            done = await conn.execute("SELECT obj_description(%s::regclass, 'pg_class') = %s", (_name(week), DONE))
            if await done.fetchone() == (True,):
                return 0
            tenants = [row[0] for row in await (await conn.execute("SELECT tenant FROM audit_heads")).fetchall()]
        moved = 0
        for tenant in tenants:
            async for rows in self._runs(week, tenant):
                await self._put(objects, tenant, rows)
                moved += len(rows)
        await self._without_details(week)
        return moved

    async def _runs(self, week: date, tenant: str) -> AsyncIterator[list[AuditRow]]:
        """Of one log, as many rows as make an object, by `seq`."""
        query = sql.SQL(
            "SELECT {}, octet_length(detail::text) FROM {}"
            " WHERE tenant = %s AND seq > %s AND detail IS NOT NULL ORDER BY seq LIMIT %s"
        ).format(sql.SQL(COLUMNS), sql.Identifier(_name(week)))
        after, size = 0, 0
        rows: list[AuditRow] = []
        while True:
            async with self._database.connection() as conn:
                found = await (await conn.execute(query, (tenant, after, self._read_rows))).fetchall()
            for *row, length in found:
                rows.append(row_of(tuple(row)))
                size += length
                if len(rows) >= OBJECT_ROWS or size >= self._object_bytes:
                    yield rows
                    rows, size = [], 0
            if not found:
                break
            after = found[-1][0]
        if rows:
            yield rows

    async def _put(self, objects: Objects, tenant: str, rows: list[AuditRow]) -> None:
        # Seconds of work: streams of gateways are served by the same loop.
        one, data = await asyncio.to_thread(_sealed_up, tenant, rows)
        try:
            await objects.put(one.object, data)
            kept = await objects.get(one.object)
        except ObjectsAway as away:
            raise Rejected(Why.UNAVAILABLE, f"audit rows cannot be moved out: {away}") from away
        if kept != data:
            raise Rejected(
                Why.UNAVAILABLE, f"audit rows are not moved out: {one.object} does not read as it was written"
            )
        await self._note(one)

    async def _note(self, one: Archive) -> None:
        async with self._database.connection() as conn:
            await conn.execute(
                "INSERT INTO audit_archives (tenant, first_seq, last_seq, object, digest, bytes)"
                " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (tenant, last_seq) DO UPDATE SET"
                " first_seq = excluded.first_seq, object = excluded.object, digest = excluded.digest,"
                " bytes = excluded.bytes",
                one,
            )

    async def _without_details(self, week: date) -> None:
        """The week's table written anew, so that its space is free at once; rows that no object holds keep theirs."""
        old, new = sql.Identifier(_name(week)), sql.Identifier(f"{_name(week)}_new")
        held = (
            "EXISTS (SELECT 1 FROM audit_archives a"
            " WHERE a.tenant = o.tenant AND o.seq BETWEEN a.first_seq AND a.last_seq)"
        )
        columns = COLUMNS.replace("detail::text", f"CASE WHEN {held} THEN NULL ELSE detail END")
        async with self._database.transaction() as conn:
            await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            await conn.execute(f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {BRIEF_MS}")
            await conn.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(old))
            await conn.execute(sql.SQL("CREATE TABLE {} (LIKE audit INCLUDING DEFAULTS)").format(new))
            await conn.execute(
                sql.SQL(
                    f"INSERT INTO {{}} (tenant, day, {COLUMNS.replace('::text', '')})"
                    f" SELECT tenant, day, {columns} FROM {{}} o"
                ).format(new, old)
            )
            await conn.execute(sql.SQL("ALTER TABLE audit DETACH PARTITION {}").format(old))
            await conn.execute(sql.SQL("DROP TABLE {}").format(old))
            await conn.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(new, old))
            await conn.execute(_attach(week, old))
            await conn.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(old, sql.Literal(DONE)))

    async def drop_empty(self, before: date) -> int:
        """Drop tables of weeks that ended by then and hold nothing any more; how many."""
        dropped = 0
        for week in await self._weeks():
            if week + WEEK > before:
                continue
            table = sql.Identifier(_name(week))
            async with self._database.transaction() as conn:
                await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                await conn.execute(f"SET LOCAL lock_timeout = {BRIEF_MS}")
                left = await conn.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(table))
                if await left.fetchone() is None:
                    await conn.execute(sql.SQL("DROP TABLE {}").format(table))
                    dropped += 1
        return dropped

    async def forget(self) -> int:
        """Delete objects whose rows retention has removed; how many."""
        query = (
            "SELECT a.tenant, a.last_seq, a.object FROM audit_archives a JOIN audit_heads h USING (tenant)"
            " WHERE a.last_seq <= h.pruned_seq ORDER BY 1, 2 LIMIT 1000"
        )
        async with self._database.connection() as conn:
            gone = await (await conn.execute(query)).fetchall()
        if self._objects is None:
            return 0
        for tenant, last_seq, name in gone:
            try:
                await self._objects.delete(name)
            except ObjectsAway as away:
                raise Rejected(Why.UNAVAILABLE, f"archives are deleted later: {away}") from away
            async with self._database.connection() as conn:
                await conn.execute("DELETE FROM audit_archives WHERE tenant = %s AND last_seq = %s", (tenant, last_seq))
        return len(gone)

    async def _weeks(self) -> list[date]:
        """Mondays of the weeks that have a table, oldest first."""
        query = (
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'audit'::regclass AND c.relname LIKE 'audit\\_w________' ORDER BY 1"
        )
        async with self._database.connection() as conn:
            found = await (await conn.execute(query)).fetchall()
        return [datetime.strptime(row[0], "audit_w%Y%m%d").replace(tzinfo=UTC).date() for row in found]


def _sealed_up(tenant: str, rows: list[AuditRow]) -> tuple[Archive, bytes]:
    data = packed(rows)
    return archive_of(tenant, rows, data), data


def _name(week: date) -> str:
    return f"audit_w{week:%Y%m%d}"


def _attach(week: date, table: sql.Identifier) -> sql.Composed:
    return sql.SQL("ALTER TABLE audit ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
        table, sql.Literal(week.isoformat()), sql.Literal((week + WEEK).isoformat())
    )


async def _exists(conn: Connection, table: str) -> bool:
    found = await (await conn.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))).fetchone()
    return bool(found and found[0])
