"""The audit chain in real PostgreSQL: idempotent, without gaps, and telling when it was touched."""

import asyncio

import pytest

from adapters.postgres.audit import PostgresAudit, append
from adapters.postgres.database import Database
from core.audit import Entry, Verdict, Wanted

SWAP = """
    UPDATE audit SET seq = -seq WHERE seq IN (10, 11);
    UPDATE audit SET seq = CASE seq WHEN -10 THEN 11 ELSE 10 END WHERE seq < 0
"""


def entry(number: int, at_unix: float | None = None, **more: object) -> Entry:
    values = {
        "id": f"id-{number}",
        "at_unix": 1000.0 + number if at_unix is None else at_unix,
        "type": "call",
        "outcome": "ok",
        "caller": "alice/bot",
        "tool": "get_time",
        "detail": {"bytes": number, "share": 0.1, "text": "ü\n", "nested": {"b": [1, None], "a": True}},
        **more,
    }
    return Entry(**values)  # type: ignore[arg-type]


@pytest.fixture
def audit(database: Database) -> PostgresAudit:
    return PostgresAudit(database)


async def fill(audit: PostgresAudit, count: int, tenant: str = "acme") -> None:
    await audit.store({tenant: [entry(i) for i in range(1, count + 1)]})


async def run(database: Database, statement: str) -> None:
    async with database.connection() as conn:
        await conn.execute(statement.encode())


async def test_rows_come_back_as_they_were_stored(audit: PostgresAudit) -> None:
    await fill(audit, 3)
    rows = await audit.page("acme", Wanted(), None, 10)
    assert [row.seq for row in rows] == [3, 2, 1]
    assert rows[0].detail == entry(3).detail
    assert (rows[0].id, rows[0].at_unix, rows[0].caller) == ("id-3", 1003.0, "alice/bot")


async def test_storing_an_id_twice_stores_it_once(audit: PostgresAudit) -> None:
    assert await audit.store({"acme": [entry(1), entry(2), entry(1)]}) == 2
    assert await audit.store({"acme": [entry(2), entry(3)]}) == 1
    assert [row.id for row in await audit.page("acme", Wanted(), None, 10)] == ["id-3", "id-2", "id-1"]
    assert (await audit.verify("acme")).rows == 3


async def test_chains_of_tenants_are_their_own(audit: PostgresAudit) -> None:
    await audit.store({"acme": [entry(1)], "": [entry(1)], "umbrella": [entry(1), entry(2)]})
    for tenant, rows in (("acme", 1), ("", 1), ("umbrella", 2), ("nowhere", 0)):
        verdict = await audit.verify(tenant)
        assert (verdict.intact, verdict.rows) == (True, rows)


async def test_many_writers_make_one_chain_without_gaps(audit: PostgresAudit) -> None:
    batches = [[entry(i * 100 + j) for j in range(20)] for i in range(12)]
    async with asyncio.timeout(20):
        await asyncio.gather(*(audit.store({"acme": batch, "umbrella": batch}) for batch in (*batches, *batches)))
    for tenant in ("acme", "umbrella"):
        verdict = await audit.verify(tenant)
        assert (verdict.intact, verdict.rows) == (True, 240)


async def test_a_transaction_that_fails_leaves_no_trace(audit: PostgresAudit, database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as conn:
            await append(conn, "acme", [entry(1), entry(2)])
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    await fill(audit, 2)
    assert (await audit.verify("acme")).rows == 2


@pytest.mark.parametrize(
    ("statement", "bad", "reason"),
    [
        ("UPDATE audit SET outcome = 'denied' WHERE seq = 700", 700, "is not what was written"),
        ("UPDATE audit SET detail = '{\"bytes\": 1}' WHERE seq = 2", 2, "is not what was written"),
        ("UPDATE audit SET at_unix = at_unix + 0.001 WHERE seq = 1", 1, "is not what was written"),
        ("UPDATE audit SET caller = 'mallory/bot' WHERE seq = 1200", 1200, "is not what was written"),
        ("UPDATE audit SET hash = '\\x00' WHERE seq = 5", 5, "is not what was written"),
        ("DELETE FROM audit WHERE seq = 600", 600, "row 600 is missing"),
        ("DELETE FROM audit WHERE seq = 1", 1, "row 1 is missing"),
        ("DELETE FROM audit WHERE seq > 1190", 1191, "rows 1191 to 1200 are missing at the end"),
        ("DELETE FROM audit", 1, "rows 1 to 1200 are missing at the end"),
        (
            SWAP,
            10,
            "is not what was written",
        ),
    ],
)
async def test_the_first_touched_row_is_found(
    audit: PostgresAudit, database: Database, statement: str, bad: int, reason: str
) -> None:
    await fill(audit, 1200)
    await run(database, statement)
    verdict = await audit.verify("acme")
    assert (verdict.intact, verdict.first_bad_seq) == (False, bad)
    assert reason in verdict.reason


async def test_a_forged_row_at_the_end_is_found(audit: PostgresAudit, database: Database) -> None:
    await fill(audit, 2)
    await run(
        database,
        "INSERT INTO audit SELECT tenant, 3, 'forged', at_unix, type, outcome, caller, tool, detail, hash"
        " FROM audit WHERE seq = 2",
    )
    assert (await audit.verify("acme")).first_bad_seq == 3


async def test_pruning_keeps_the_rest_verifiable(audit: PostgresAudit, database: Database) -> None:
    # The third came late: it is younger than the two after it, and holds them back.
    times = [10.0, 11.0, 99.0, 12.0, 13.0, 98.0]
    await audit.store({"acme": [entry(i, at) for i, at in enumerate(times)]})
    assert await audit.prune("acme", 50.0) == 2
    assert await audit.prune("acme", 50.0) == 0
    verdict = await audit.verify("acme")
    assert (verdict.intact, verdict.rows) == (True, 4)
    await run(database, "DELETE FROM audit WHERE seq = 3")
    assert (await audit.verify("acme")).reason == "row 3 is missing"


async def test_a_chain_pruned_to_nothing_goes_on(audit: PostgresAudit) -> None:
    await fill(audit, 3)
    head = (await audit.verify("acme")).head
    assert await audit.prune("acme", 1e12) == 3
    assert await audit.verify("acme") == Verdict(intact=True, rows=0, head=head)
    await audit.store({"acme": [entry(9)]})
    assert [row.seq for row in await audit.page("acme", Wanted(), None, 10)] == [4]
    assert (await audit.verify("acme")).intact


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), [4, 3, 2, 1]),
        (Wanted(since_unix=1002.0), [4, 3, 2]),
        (Wanted(until_unix=1002.0), [1]),
        (Wanted(caller="alice/bot"), [4, 1]),
        (Wanted(caller="alice"), [4, 3, 1]),
        (Wanted(caller="bot"), [4, 1]),
        (Wanted(caller="root"), [2]),
        (Wanted(tool="get_time", outcome="ok"), [1]),
        (Wanted(type="change"), [2]),
        (Wanted(outcome="forbidden", since_unix=1004.0), [4]),
    ],
)
async def test_rows_are_filtered(audit: PostgresAudit, wanted: Wanted, expected: list[int]) -> None:
    await audit.store(
        {
            "acme": [
                entry(1),
                entry(2, type="change", caller="root", tool="User/x", outcome="created"),
                entry(3, caller="alice/other", tool="convert"),
                entry(4, outcome="forbidden"),
            ],
            "umbrella": [entry(1)],
        }
    )
    assert [row.seq for row in await audit.page("acme", wanted, None, 10)] == expected


async def test_pages_go_back_in_time(audit: PostgresAudit) -> None:
    await fill(audit, 5)
    first = await audit.page("acme", Wanted(), None, 2)
    second = await audit.page("acme", Wanted(), first[-1].seq, 2)
    assert [row.seq for row in (*first, *second)] == [5, 4, 3, 2]
