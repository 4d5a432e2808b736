"""Bodies of strangers: each within a size and a time, all together within a budget, and nothing kept afterwards."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from control_plane.api.bodies import DRAIN_BYTES, MAX_BODY_BYTES, Bodies, TooLarge, TooSlow
from core.admin import Rejected, Why


async def chunks(*sizes: int, then: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size
    if then is not None:
        await then.wait()


async def test_a_body_is_what_its_chunks_are_together() -> None:
    bodies = Bodies()
    assert await bodies.read(chunks(3, 0, 4)) == b"x" * 7
    assert bodies.bound.held == 0


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, DRAIN_BYTES + MAX_BODY_BYTES])
async def test_one_too_large_is_refused_whether_it_ends_or_not(size: int) -> None:
    bodies = Bodies()
    with pytest.raises(TooLarge):
        await bodies.read(chunks(*[1024 * 1024] * (size // 1024 // 1024), 1))
    assert bodies.bound.held == 0


async def test_one_that_does_not_come_is_not_waited_for() -> None:
    bodies = Bodies(within_s=0.01)
    with pytest.raises(TooSlow):
        await bodies.read(chunks(5, then=asyncio.Event()))
    assert bodies.bound.held == 0


async def test_many_at_once_share_a_budget_and_the_one_too_many_is_counted() -> None:
    bodies, go_on = Bodies(all_bytes=1000), asyncio.Event()
    first = asyncio.ensure_future(bodies.read(chunks(900, then=go_on)))
    async with asyncio.timeout(5):
        while bodies.bound.held < 900:
            await asyncio.sleep(0)
    with pytest.raises(Rejected) as caught:
        await bodies.read(chunks(50, 51))
    assert caught.value.why is Why.UNAVAILABLE
    assert (bodies.bound.held, bodies.bound.hits) == (900, 1)
    go_on.set()
    assert await first == b"x" * 900
    assert (bodies.bound.held, bodies.bound.hits) == (0, 1)
