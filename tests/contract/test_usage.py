"""Use of quotas in real PostgreSQL: never more than there is, kept, and begun anew with each period."""

import asyncio

import pytest

from adapters.postgres.database import Database
from adapters.postgres.usage import PostgresUsage
from core.limits import Grant
from core.quota import Lease, Used, span

NOW = 1_800_000_000.0
NAME = "acme/calls@abc/3:ada"


def lease(want: int, amount: int = 100, name: str = NAME, *, begins: int = 0) -> Lease:
    return Lease(name=name, period="day", amount=amount, want=want, begins=begins)


@pytest.fixture
def usage(database: Database) -> PostgresUsage:
    return PostgresUsage(database)


async def test_gateways_together_never_get_more_than_there_is(usage: PostgresUsage) -> None:
    async with asyncio.timeout(30):
        grants = await asyncio.gather(*(usage.lease("acme", lease(7), NOW) for _ in range(40)))
    assert sum(grant.tokens for grant in grants) == 100
    _, ends = span("day", NOW)
    assert {grant.retry_after_s for grant in grants if grant.tokens < 7} == {ends - NOW}


async def test_what_comes_back_can_be_leased_again(usage: PostgresUsage) -> None:
    await usage.lease("acme", lease(100), NOW)
    await usage.lease("acme", lease(-30), NOW)
    assert (await usage.lease("acme", lease(50), NOW)).tokens == 30
    await usage.lease("acme", lease(-500), NOW)
    assert (await usage.lease("acme", lease(500), NOW)).tokens == 100


async def test_a_new_period_begins_with_all_of_it_and_what_comes_back_late_is_lost(usage: PostgresUsage) -> None:
    await usage.lease("acme", lease(100), NOW)
    later = span("day", NOW).ends + 1.0
    await usage.lease("acme", lease(-30), later)
    assert await usage.lease("acme", lease(100), later) == Grant(100)


async def test_a_slice_that_comes_back_after_its_period_counts_in_that_one(usage: PostgresUsage) -> None:
    before, after = span("day", NOW), span("day", span("day", NOW).ends)
    await usage.lease("acme", lease(100, begins=before.begins), NOW)
    await usage.lease("acme", lease(40, begins=after.begins), after.begins + 1.0)
    await usage.lease("acme", lease(-30, begins=before.begins), after.begins + 2.0)
    assert [one.used for one in await usage.used("acme", after.begins + 3.0)] == [40]
    assert [one.used for one in await usage.used("acme", NOW)] == [70]


async def test_near_midnight_a_gateway_leases_of_the_period_its_own_clock_says(usage: PostgresUsage) -> None:
    before, after = span("day", NOW), span("day", span("day", NOW).ends)
    assert await usage.lease("acme", lease(100, begins=after.begins), after.begins - 60.0) == Grant(100)
    short = await usage.lease("acme", lease(100, begins=after.begins), after.begins - 60.0)
    assert short == Grant(0, after.ends - (after.begins - 60.0))
    assert await usage.lease("acme", lease(100, begins=before.begins), after.begins + 60.0) == Grant(100)
    assert await usage.lease("acme", lease(100, begins=before.begins), after.begins + 3_600.0) == Grant(
        0, after.ends - (after.begins + 3_600.0)
    ), "a clock that far off is not believed"


async def test_another_amount_counts_what_was_used(usage: PostgresUsage) -> None:
    await usage.lease("acme", lease(80), NOW)
    assert (await usage.lease("acme", lease(80, amount=90), NOW)).tokens == 10
    assert (await usage.lease("acme", lease(80, amount=50), NOW)).tokens == 0


async def test_what_is_used_is_told_by_tenant_and_kept_for_a_time(usage: PostgresUsage, database: Database) -> None:
    await usage.lease("acme", lease(5), NOW)
    await usage.lease("acme", lease(9, name="acme/calls@abc/3:bob"), NOW)
    await usage.lease("umbrella", lease(5, name="umbrella/calls@abc"), NOW)
    begins, ends = span("day", NOW)
    told = await PostgresUsage(database).used("acme", NOW)
    assert told == [
        Used(quota="calls", period="day", begins=begins, ends=ends, values=("bob",), used=9),
        Used(quota="calls", period="day", begins=begins, ends=ends, values=("ada",), used=5),
    ]
    assert await usage.used("acme", ends + 1.0) == []
    assert await usage.forget(NOW) == 0
    assert await usage.forget(ends) == 3
