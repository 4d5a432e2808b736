"""Housekeeping: soon after the start, never all replicas at once, and one chore's failure is not the others'."""

import asyncio
from itertools import islice

from control_plane.housekeeping import EVERY_S, FIRST_S, Housekeeping, pauses
from core.admin import Rejected, Why


def test_it_begins_soon_and_goes_on_hourly_no_two_replicas_alike() -> None:
    replicas = [list(islice(pauses(), 4)) for _ in range(50)]
    for first, *later in replicas:
        assert 0.5 * FIRST_S <= first <= 1.5 * FIRST_S
        assert all(0.9 * EVERY_S <= pause <= 1.1 * EVERY_S for pause in later)
    assert len({first for first, *_ in replicas}) > 10


async def test_what_fails_once_is_counted_and_does_not_keep_the_others_from_their_work() -> None:
    rounds = 0

    async def wait(_pause_s: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            raise asyncio.CancelledError

    async def away() -> int:
        raise Rejected(Why.UNAVAILABLE, "the database cannot be reached")

    async def broken() -> int:
        raise ZeroDivisionError

    async def good() -> int:
        return 7

    house = Housekeeping({"away": away, "broken": broken, "good": good}, wait=wait)
    await asyncio.gather(house.run(), return_exceptions=True)
    assert house.removed == {"away": 0, "broken": 0, "good": 14}
    assert house.failed == {"away": 2, "broken": 2, "good": 0}
