"""The pool, the listener, migrations and the embedded server, when PostgreSQL is killed and comes back."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

import psycopg
import pytest

from adapters.postgres.database import RECONNECTED, Database, Notice
from adapters.postgres.embedded import LOG_MAX_BYTES, EmbeddedFailed, EmbeddedPostgres
from adapters.postgres.migrate import ADVISORY, SchemaTooNew, ServerTooOld, load, migrate
from core.admin import Rejected, Why
from tests.harness.postgres import FAST, MIGRATIONS, Server, kill, own_server


async def one(database: Database) -> int:
    async with database.connection() as conn:
        row = await (await conn.execute("SELECT 1")).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not `tmp_path`: another run of pytest closes that to the account the server runs as."""
    with tempfile.TemporaryDirectory(prefix="toolgate-pg-") as folder:
        yield Path(folder)


async def until_refused(database: Database) -> None:
    while True:
        await one(database)


async def until_back(database: Database) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await one(database)
                return
            except Rejected:
                continue


async def test_a_dead_server_is_refused_quickly_and_used_again_when_it_is_back() -> None:
    async with own_server() as server:
        database = await Database.open(server.dsn(), timeout_s=1.0)
        await asyncio.gather(*(one(database) for _ in range(20)))
        kill(server)
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(Rejected) as rejected:
                await until_refused(database)
            assert rejected.value.why is Why.UNAVAILABLE
            assert time.monotonic() - began < 2.0
        await server.start()
        await until_back(database)
        assert await asyncio.gather(*(one(database) for _ in range(20))) == [1] * 20
        await database.close()


async def test_connections_that_died_while_idle_fail_no_request() -> None:
    async with own_server() as server:
        database = await Database.open(server.dsn())
        await asyncio.gather(*(one(database) for _ in range(20)))
        kill(server)
        await server.start()
        assert await one(database) == 1
        await database.close()


async def test_a_transaction_cut_off_is_unavailable_and_not_committed(postgres: Server) -> None:
    async with postgres.database() as database:

        async def cut() -> None:
            async with database.transaction() as conn:
                await conn.execute("INSERT INTO audit_heads VALUES ('x', 1, '', 0, '')")
                async with database.connection() as other:
                    await other.execute("SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
                await conn.execute("SELECT 1")

        with pytest.raises(Rejected) as rejected:
            await cut()
        assert rejected.value.why is Why.UNAVAILABLE
        async with database.connection() as conn:
            assert await (await conn.execute("SELECT * FROM audit_heads")).fetchall() == []


async def test_no_server_at_all_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as rejected:
        await Database.open(f"postgresql:///x?host={tmp_path}", timeout_s=0.2)
    assert rejected.value.why is Why.UNAVAILABLE
    assert str(tmp_path) not in rejected.value.public


async def next_of(notices: AsyncIterator[Notice]) -> Notice:
    async with asyncio.timeout(20):
        return await anext(notices)


async def say(database: Database, payload: str) -> None:
    async with database.connection() as conn:
        await conn.execute("SELECT pg_notify('news', %s)", (payload,))


async def test_a_listener_hears_and_after_an_outage_says_that_it_may_have_missed() -> None:
    async with own_server() as server:
        database = await Database.open(server.dsn())
        notices = database.listen(["news", "other"])
        assert await next_of(notices) == RECONNECTED
        await say(database, "1")
        await say(database, "2")
        assert [await next_of(notices), await next_of(notices)] == [Notice("news", "1"), Notice("news", "2")]
        waiting = asyncio.ensure_future(next_of(notices))
        kill(server)
        await server.start()
        assert await waiting == RECONNECTED
        await until_back(database)
        await say(database, "3")
        assert await next_of(notices) == Notice("news", "3")
        await notices.aclose()  # type: ignore[attr-defined]
        await database.close()


async def test_replicas_starting_together_migrate_once(postgres: Server) -> None:
    with postgres.fresh(migrated=False) as dsn:
        replicas = [await Database.open(dsn) for _ in range(3)]
        applied = await asyncio.gather(*(migrate(replica, MIGRATIONS) for replica in replicas))
        assert sorted(len(names) for names in applied) == [0, 0, len(load(MIGRATIONS))]
        assert await migrate(replicas[0], MIGRATIONS) == []
        for replica in replicas:
            await replica.close()


async def test_a_replica_waits_for_the_one_that_migrates_longer_than_for_a_table(postgres: Server) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
    long = f"{waiting} AND query_start < clock_timestamp() - interval '0.2 s'"
    with postgres.fresh(migrated=False) as dsn:
        first, second = await Database.open(dsn), await Database.open(dsn)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks, first.connection() as conn:
            await conn.execute("SELECT pg_advisory_lock(%s)", (ADVISORY,))
            other = tasks.create_task(migrate(second, MIGRATIONS, lock_timeout_s=0.1))
            while await (await conn.execute(long.encode())).fetchone() != (1,):
                assert not other.done()
            await conn.execute("SELECT pg_advisory_unlock(%s)", (ADVISORY,))
        assert other.result()
        async with second.connection() as conn:
            assert await (await conn.execute("SHOW lock_timeout")).fetchone() == ("5s",), "as it was"
        await first.close()
        await second.close()


async def test_a_newer_schema_is_not_touched(postgres: Server) -> None:
    async with postgres.database() as database:
        async with database.connection() as conn:
            await conn.execute("INSERT INTO schema_migrations (version, name) VALUES (9999, 'future')")
        with pytest.raises(SchemaTooNew, match="9999_future"):
            await migrate(database, MIGRATIONS)


async def test_an_older_server_is_refused_with_the_release_that_is_needed(postgres: Server) -> None:
    with postgres.fresh(migrated=False) as dsn:
        database = await Database.open(dsn)
        try:
            with pytest.raises(ServerTooOld, match=r"is PostgreSQL 18; 99 or later is needed"):
                await migrate(database, MIGRATIONS, oldest_server=99)
            async with database.connection() as conn:
                tables = await conn.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
                assert await tables.fetchone() == (0,)
        finally:
            await database.close()


def folder(path: Path, **scripts: str) -> Traversable:
    for name, text in scripts.items():
        (path / f"{name}.sql").write_text(text)
    return path


async def test_a_migration_that_fails_is_undone_and_the_ones_before_stay(postgres: Server, tmp_path: Path) -> None:
    with postgres.fresh(migrated=False) as dsn:
        database = await Database.open(dsn)
        scripts = folder(
            tmp_path,
            m="ignored: no number",
            **{"0001_good": "CREATE TABLE good ()", "0002_bad": "CREATE TABLE half (); SELECT 1/0"},
        )
        with pytest.raises(psycopg.errors.DivisionByZero):
            await migrate(database, scripts)
        async with database.connection() as conn:
            rows = await (await conn.execute("SELECT to_regclass('good'), to_regclass('half')")).fetchone()
        assert rows == ("good", None)
        (tmp_path / "0002_bad.sql").write_text("CREATE TABLE half ()")
        assert await migrate(database, scripts) == ["0002_bad"]
        await database.close()


def test_two_migrations_of_one_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0001"):
        load(folder(tmp_path, **{"0001_a": "", "0001_b": ""}))


async def test_a_supervised_server_comes_back_by_itself_with_its_data(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, settings={**FAST, "synchronous_commit": "on"})
    await server.start()
    try:
        database = await Database.open(server.dsn())
        async with database.connection() as conn:
            await conn.execute("CREATE TABLE kept AS SELECT 7 AS seven")
        supervision = asyncio.create_task(server.supervise())
        pid = server.pid
        kill(server)
        await until_back(database)
        async with asyncio.timeout(20):
            while server.pid == pid:
                await asyncio.sleep(0)
        await until_back(database)
        async with database.connection() as conn:
            assert await (await conn.execute("SELECT seven FROM kept")).fetchone() == (7,)
        supervision.cancel()
        await asyncio.gather(supervision, return_exceptions=True)
        await database.close()
    finally:
        await server.stop()


async def test_the_servers_log_is_cut_while_it_runs(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, settings=FAST)
    await server.start()
    supervision = asyncio.create_task(server.supervise())
    try:
        database = await Database.open(server.dsn())
        log = data_dir / "log"
        with log.open("ab") as file:
            file.write(b"x" * (LOG_MAX_BYTES + 1))
        async with asyncio.timeout(5):
            while log.stat().st_size:
                await asyncio.sleep(0)
        assert log.with_suffix(".1").stat().st_size > LOG_MAX_BYTES
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with database.connection() as conn:
                await conn.execute("SELECT 1/0")
        async with asyncio.timeout(5):
            while b"division by zero" not in log.read_bytes():
                await asyncio.sleep(0)
        assert log.stat().st_size < 10_000
        await database.close()
    finally:
        supervision.cancel()
        await asyncio.gather(supervision, return_exceptions=True)
        await server.stop()


async def test_stopping_leaves_no_process_and_may_be_repeated(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, settings=FAST)
    await server.start()
    pid = server.pid
    assert pid is not None
    await server.stop()
    await server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    await EmbeddedPostgres(data_dir).stop()


async def test_one_folder_serves_one_process_at_a_time(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, settings=FAST)
    await server.start()
    try:
        with pytest.raises(EmbeddedFailed, match="in use by another"):
            await EmbeddedPostgres(data_dir).start()
    finally:
        await server.stop()


async def test_a_folder_too_deep_for_a_socket_works_all_the_same(data_dir: Path) -> None:
    deep = data_dir / ("d" * 60) / ("e" * 60)
    server = EmbeddedPostgres(deep, settings=FAST)
    await server.start()
    try:
        database = await Database.open(server.dsn())
        assert await one(database) == 1
        await database.close()
    finally:
        await server.stop()


OWNER = """
    import asyncio, sys
    from pathlib import Path
    from adapters.postgres.embedded import EmbeddedPostgres
    async def main():
        server = EmbeddedPostgres(Path(sys.argv[1]))
        await server.start()
        print(server.pid, flush=True)
        await asyncio.Event().wait()
    asyncio.run(main())
"""


async def test_a_server_whose_owner_was_killed_ends_and_the_next_one_starts(data_dir: Path) -> None:
    root = Path(__file__).parents[2]
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), str(data_dir)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    orphan = int(owner.stdout.readline())
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    server = EmbeddedPostgres(data_dir, settings=FAST)
    await server.start()
    try:
        database = await Database.open(server.dsn())
        assert await one(database) == 1
        await database.close()
        assert server.pid != orphan
        assert server._left_over()
        async with asyncio.timeout(20):
            while Path(f"/proc/{orphan}/cwd").exists() and orphan in server._left_over():
                await asyncio.sleep(0)
    finally:
        await server.stop()
    assert server._left_over() == []
