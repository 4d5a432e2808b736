"""The audit log by weeks in real PostgreSQL: made ahead, moved out to objects, dropped; and whole all the time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.files.objects import FileObjects
from adapters.postgres.audit import PostgresAudit
from adapters.postgres.audit_weeks import LOCK, WEEK, AuditWeeks, monday, today
from adapters.postgres.database import Database
from adapters.postgres.migrate import migrate
from core.admin import Rejected
from core.audit import Head, Wanted, link
from tests.contract.test_audit import entry
from tests.harness.postgres import MIGRATIONS, Server

OLD = monday(today()) - 5 * WEEK
"""Monday of a week that ended long ago."""


@pytest.fixture
def objects(tmp_path: Path) -> FileObjects:
    return FileObjects(tmp_path / "objects")


async def column(database: Database, statement: str) -> list[object]:
    async with database.connection() as conn:
        return [row[0] for row in await (await conn.execute(statement.encode())).fetchall()]


async def run(database: Database, statement: str) -> None:
    async with database.connection() as conn:
        await conn.execute(statement.encode())


async def aged(database: Database, weeks: AuditWeeks, count: int, *, day: date = OLD) -> PostgresAudit:
    """Two logs, their first `count` rows stored on that day and three today."""
    audit = PostgresAudit(database)
    await weeks.prepare(day)
    await weeks.prepare()
    await audit.store({tenant: [entry(i) for i in range(count)] for tenant in ("acme", "")})
    await run(database, f"UPDATE audit SET day = '{day}'")
    await audit.store({tenant: [entry(i) for i in range(count, count + 3)] for tenant in ("acme", "")})
    return audit


async def test_rows_go_to_the_table_of_their_week(database: Database) -> None:
    weeks = AuditWeeks(database, None)
    await aged(database, weeks, 4)
    found = await column(database, "SELECT DISTINCT tableoid::regclass::text FROM audit ORDER BY 1")
    assert found == [f"audit_w{OLD:%Y%m%d}", f"audit_w{monday(today()):%Y%m%d}"]
    assert await column(database, "SELECT count(*) FROM audit_other") == [0]
    await weeks.prepare()
    assert (await PostgresAudit(database).verify("acme")).rows == 7


async def test_rows_of_a_week_without_a_table_are_kept_and_stay_where_they_are(database: Database) -> None:
    audit = PostgresAudit(database)
    await audit.store({"acme": [entry(1)]})
    await AuditWeeks(database, None).prepare()
    await audit.store({"acme": [entry(1), entry(2)]})
    assert await column(database, "SELECT count(*) FROM audit_other") == [2]
    assert (await audit.verify("acme")).rows == 2


async def test_what_is_sent_again_weeks_later_is_stored_once(database: Database) -> None:
    weeks = AuditWeeks(database, None)
    audit = await aged(database, weeks, 4)
    assert await audit.store({"acme": [entry(1), entry(5), entry(9)]}) == 1


async def test_bulk_is_moved_out_and_everything_reads_as_before(database: Database, objects: FileObjects) -> None:
    weeks = AuditWeeks(database, objects)
    audit = await aged(database, weeks, 25)
    before = await audit.page("acme", Wanted(), None, 100)
    assert await weeks.archive(today()) == 50
    assert await column(database, "SELECT count(*) FROM audit WHERE detail IS NULL") == [50]
    moved = PostgresAudit(database, objects)
    assert await moved.page("acme", Wanted(), None, 100) == before
    assert [row async for rows in moved.rows("acme", Wanted()) for row in rows] == before[::-1]
    verdict = await moved.verify("acme")
    assert (verdict.intact, verdict.rows) == (True, 28)
    assert await weeks.archive(today()) == 0, "once is enough"
    assert await moved.store({"acme": [entry(1), entry(50)]}) == 1
    assert (await moved.verify("acme")).intact


async def test_this_weeks_rows_stay(database: Database, objects: FileObjects) -> None:
    weeks = AuditWeeks(database, objects)
    await aged(database, weeks, 2, day=monday(today()))
    assert await weeks.archive(today()) == 0
    assert await column(database, "SELECT count(*) FROM audit WHERE detail IS NULL") == [0]


@pytest.mark.parametrize("harm", ["changed", "gone"])
async def test_an_object_that_was_touched_is_found(
    database: Database, objects: FileObjects, tmp_path: Path, harm: str
) -> None:
    weeks = AuditWeeks(database, objects)
    await aged(database, weeks, 25)
    await weeks.archive(today())
    (file,) = (tmp_path / "objects" / "audit" / "acme" / "rows").iterdir()
    if harm == "changed":
        file.write_bytes(file.read_bytes()[:-9] + b"x" * 9)
    else:
        file.unlink()
    verdict = await PostgresAudit(database, objects).verify("acme")
    assert (verdict.intact, verdict.first_bad_seq) == (False, 1)
    assert (await PostgresAudit(database, objects).verify("")).intact


async def test_objects_that_cannot_be_had_are_no_tampering(database: Database, objects: FileObjects) -> None:
    weeks = AuditWeeks(database, objects)
    await aged(database, weeks, 3)
    await weeks.archive(today())
    with pytest.raises(Rejected):
        await PostgresAudit(database).verify("acme")


async def test_a_store_that_is_away_leaves_every_row_where_it_is(database: Database, tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("in the way")
    weeks = AuditWeeks(database, FileObjects(tmp_path / "objects"))
    audit = await aged(database, weeks, 3)
    with pytest.raises(Rejected):
        await weeks.archive(today())
    assert await column(database, "SELECT count(*) FROM audit WHERE detail IS NULL") == [0]
    assert (await audit.verify("acme")).rows == 6


async def test_empty_weeks_are_dropped_and_their_objects_deleted(
    database: Database, objects: FileObjects, tmp_path: Path
) -> None:
    weeks = AuditWeeks(database, objects)
    audit = await aged(database, weeks, 20)
    await weeks.archive(today())
    assert await weeks.drop_empty(OLD + timedelta(days=30)) == 3, "those prepared behind the old week, and never used"
    for tenant in ("acme", ""):
        assert await audit.prune(tenant, 1_020.0) == 20
    assert await weeks.forget() == 2
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []
    assert await weeks.drop_empty(today()) == 2
    verdict = await PostgresAudit(database).verify("acme")
    assert (verdict.intact, verdict.rows) == (True, 3)


class Beside(ThreadPoolExecutor):
    """Threads, and the names of what ran on them."""

    def __init__(self) -> None:
        super().__init__(2)
        self.ran: list[str] = []

    def submit(self, work: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        # `asyncio.to_thread` gives a partial of `Context.run` and what is to be run.
        self.ran.append(work.args[0].__name__ if isinstance(work, partial) else work.__name__)
        return super().submit(work, *given, **named)


async def test_objects_are_bounded_by_bytes_and_made_and_opened_beside_the_loop(
    database: Database, objects: FileObjects
) -> None:
    threads = Beside()
    asyncio.get_running_loop().set_default_executor(threads)
    weeks = AuditWeeks(database, objects, object_bytes=30, read_rows=7)
    audit = await aged(database, weeks, 25)
    before = await audit.page("acme", Wanted(), None, 100)
    assert await weeks.archive(today()) == 50
    [made] = await column(database, "SELECT count(*) FROM audit_archives")
    assert isinstance(made, int)
    assert made > 2, "more than one of each log"
    assert await PostgresAudit(database, objects).page("acme", Wanted(), None, 100) == before
    assert threads.ran.count("_sealed_up") == made
    assert threads.ran.count("_read") > 1


@pytest.fixture
async def unmigrated(postgres: Server) -> AsyncIterator[Database]:
    with postgres.fresh(migrated=False) as dsn:
        database = await Database.open(dsn)
        try:
            yield database
        finally:
            await database.close()


async def test_rows_from_before_there_were_weeks_stay_where_they_are_and_are_not_copied(
    unmigrated: Database, tmp_path: Path
) -> None:
    database, before = unmigrated, tmp_path / "before"
    before.mkdir()
    for file in MIGRATIONS.iterdir():
        if file.name.endswith(".sql") and file.name < "0066":
            (before / file.name).write_text(file.read_text())
    await migrate(database, before)
    head, rows = link(Head(), [entry(i) for i in range(20)])
    async with database.transaction() as conn:
        for row in rows:
            told = (row.type, row.outcome, row.caller, row.tool, json.dumps(row.detail))
            await conn.execute(
                "INSERT INTO audit VALUES ('acme', %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (row.seq, row.id, row.at_unix, *told, row.hash),
            )
        await conn.execute("INSERT INTO audit_heads VALUES ('acme', %s, %s, 0, %s)", (head.seq, head.hash, bytes(32)))
    (file_before,) = await column(database, "SELECT pg_relation_filenode('audit')")

    await migrate(database, MIGRATIONS)
    assert await column(database, "SELECT pg_relation_filenode('audit_before')") == [file_before], "it was copied"
    audit, weeks = PostgresAudit(database), AuditWeeks(database, None)
    await weeks.prepare()
    await weeks.prepare()
    assert await audit.store({"acme": [entry(3), entry(20), entry(21)]}) == 2, "what is sent again is known again"
    verdict = await audit.verify("acme")
    assert (verdict.intact, verdict.rows) == (True, 22)
    assert await column(database, "SELECT count(*) FROM audit_other") == [0]
    tables = await column(
        database, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit'::regclass ORDER BY 1"
    )
    this = monday(today())
    assert tables == ["audit_before", "audit_other", *(f"audit_w{this + n * WEEK:%Y%m%d}" for n in range(1, 5))]
    assert await audit.prune("acme", 1e18) == 22


async def test_a_start_waits_for_nobody_where_all_weeks_are_there(database: Database) -> None:
    weeks = AuditWeeks(database, None)
    await weeks.prepare()
    async with database.transaction() as conn, asyncio.timeout(4):
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        await weeks.prepare()
