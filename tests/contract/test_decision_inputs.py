"""Decision inputs, kept in PostgreSQL."""

import pytest

from adapters.postgres.database import Database
from adapters.postgres.decision_inputs import PostgresDecisionInputs
from core.decision_inputs import Asking, Recorded


def asking(mark: bytes = b"m" * 16, **changes) -> Asking:
    base = {"tenant": "acme", "day": 20000, "mark": mark, "caller": "ann/bot", "calls": 2, "allowed": 1}
    return Asking(**{**base, **changes})


@pytest.fixture
async def database(postgres):
    with postgres.fresh() as dsn:
        database = await Database.open(dsn)
        try:
            yield database
        finally:
            await database.close()


async def window(kept, tenant, since_day, limit):
    return [one async for page in kept.window(tenant, since_day, limit) for one in page]


async def test_a_window_comes_in_pages_with_the_rows_of_an_input_together(database):
    kept = PostgresDecisionInputs(database, page=2)
    ask = {("ann", b"m"): 1, ("bob", b"m"): 7, ("cy", b"n"): 5, ("di", b"m"): 2, ("ed", b"n"): 6}
    askings = [asking(mark * 16, caller=who, calls=calls) for (who, mark), calls in ask.items()]
    await kept.note(askings, {("acme", mark * 16): b'"' + mark + b'"' for mark in (b"m", b"n")})
    pages = [[(one.input, one.calls) for one in page] async for page in kept.window("acme", 0, 4)]
    assert pages == [[(b'"m"', 7), (b'"m"', 2)], [(b'"n"', 6), (b'"n"', 5)]]


async def test_calls_add_up_and_inputs_are_kept_once(database):
    kept = PostgresDecisionInputs(database)
    assert await kept.note([asking(), asking(b"n" * 16, calls=9)], {("acme", b"m" * 16): b"{}"}) == 0
    assert await kept.note([asking(day=20001, differed=1)], {("acme", b"m" * 16): b"{}"}) == 0
    await kept.note([asking(tenant="globex")], {("globex", b"n" * 16): b'{"theirs":1}'})
    assert await window(kept, "acme", 20000, 10) == [
        Recorded(input=None, caller="ann/bot", calls=9, allowed=1),
        Recorded(input=b"{}", caller="ann/bot", calls=4, allowed=2),
    ]
    assert [one.calls for one in await window(kept, "acme", 20001, 10)] == [2]
    assert [one.calls for one in await window(kept, "acme", 0, 1)] == [9]


async def test_a_tenants_room_is_its_own_and_ends(database):
    kept = PostgresDecisionInputs(database, inputs_max=1, rows_max=2)
    askings = [asking(bytes([n]) * 16) for n in range(3)]
    inputs = {("acme", bytes([n]) * 16): b"{}" for n in range(3)}
    assert await kept.note(askings, inputs) == 3
    assert await kept.note([asking(tenant="globex")], {("globex", b"m" * 16): b"{}"}) == 0
    assert len(await window(kept, "acme", 0, 10)) == 2


async def test_what_is_older_is_forgotten(database):
    kept = PostgresDecisionInputs(database)
    await kept.note([asking(day=1), asking(b"n" * 16, day=5)], {("acme", b"m" * 16): b"{}", ("acme", b"n" * 16): b"{}"})
    assert await kept.prune("acme", 5) == 2
    assert [one.input for one in await window(kept, "acme", 0, 10)] == [b"{}"]
    assert await kept.tenants() == ["acme"]
    assert await kept.prune("acme", 99) == 2
    assert await kept.tenants() == []
