"""When what waits is tried again."""

import asyncio

from control_plane.services.retries import CHEAP_S, Retries


async def test_pauses_double_up_to_the_longest_and_begin_anew_once_settled() -> None:
    now = 1000.0
    retries = Retries(first_s=5, longest_s=60, clock=lambda: now)
    pauses = []
    for _ in range(6):
        pauses.append(retries.later("acme").at - now)
        now += pauses[-1]
        assert await retries.due() == ["acme"]
    assert pauses == [5, 10, 20, 40, 60, 60]
    retries.settled("acme")
    assert retries.later("acme") == (1, now + 5)


async def test_a_try_that_costs_nothing_is_soon_made_again() -> None:
    now = 1000.0
    retries = Retries(first_s=5, longest_s=60, clock=lambda: now)
    for _ in range(6):
        assert retries.later("acme", cheap=True).at == now + CHEAP_S
        now += CHEAP_S
        assert await retries.due() == ["acme"]


async def test_a_change_that_fails_too_does_not_postpone_the_next_try() -> None:
    now = 0.0
    retries = Retries(first_s=5, clock=lambda: now)
    first = retries.later("acme")
    now = 4.0
    assert retries.later("acme") == first == (1, 5.0)


async def test_what_is_due_is_told_once_and_soonest_first() -> None:
    now = 0.0
    retries = Retries(first_s=10, clock=lambda: now)
    retries.later("acme")
    now = 5.0
    retries.later("other")
    now = 12.0
    assert await retries.due() == ["acme"]
    now = 15.0
    assert await retries.due() == ["other"]
    waiting = asyncio.ensure_future(retries.due())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_waiting_ends_when_something_comes_that_is_due_sooner() -> None:
    retries = Retries(first_s=0.01)
    waiting = asyncio.ensure_future(retries.due())
    await asyncio.sleep(0)
    retries.later("acme")
    assert await asyncio.wait_for(waiting, 5) == ["acme"]
