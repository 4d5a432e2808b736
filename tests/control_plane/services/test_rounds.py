"""Rounds over work that is due: who is slow, fails, or has much of it keeps nobody else waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from control_plane.services.rounds import Rounds
from core.admin import Rejected, Why
from core.bound import SHARE, Room
from tests.harness.rounds import once

AT_ONCE = 8
AN_HOUR_S = 3600.0
"""So that what happens in a test happens for another reason than that it was time."""


class Errand(NamedTuple):
    tenant: str
    name: str


class Desk:
    """What is due, claimed as the database does it."""

    def __init__(self, *due: Errand, tick_s: float = AN_HOUR_S) -> None:
        self.due = list(due)
        self.fails: list[Exception] = []
        """Of the next claims."""
        self.begun: list[str] = []
        self.done: asyncio.Queue[str] = asyncio.Queue()
        self.again: set[str] = set()
        self.hold = {"slow": asyncio.Event()}
        self.rounds: Rounds[Errand] = Rounds(
            "errands",
            self.claim,
            self.one,
            named=lambda errand: errand.name,
            at_once=AT_ONCE,
            tick_s=tick_s,
            pause_s=0.0,
        )

    async def claim(self, room: Room) -> list[Errand]:
        if self.fails:
            raise self.fails.pop(0)
        taken, claimed = dict(room.taken), []
        for errand in self.due:
            if len(claimed) < room.total and taken.get(errand.tenant, 0) < room.of_one:
                taken[errand.tenant] = taken.get(errand.tenant, 0) + 1
                claimed.append(errand)
        self.due = [errand for errand in self.due if errand not in claimed]
        return claimed

    async def one(self, errand: Errand) -> bool:
        self.begun.append(errand.name)
        if errand.tenant in self.hold:
            await self.hold[errand.tenant].wait()
        if errand.tenant == "broken":
            raise ZeroDivisionError
        if errand.tenant == "away":
            raise Rejected(Why.UNAVAILABLE, "away")
        self.done.put_nowait(errand.name)
        return errand.name in self.again

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.rounds.run())
        try:
            async with asyncio.timeout(5):
                yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def next(self, count: int) -> list[str]:
        return sorted([await self.done.get() for _ in range(count)])


def of(tenant: str, count: int) -> list[Errand]:
    return [Errand(tenant, f"{tenant}-{n}") for n in range(count)]


async def test_a_slow_tenant_with_much_to_do_has_its_share_and_the_others_go_on() -> None:
    desk = Desk(*of("slow", 5_000), *of("a", 20), *of("b", 20))
    async with desk.running():
        assert len(await desk.next(40)) == 40
        assert len([name for name in desk.begun if name.startswith("slow")]) == AT_ONCE // SHARE
        desk.hold["slow"].set()
        await desk.next(100)


@pytest.mark.parametrize("tenant", ["broken", "away"])
async def test_one_that_fails_ends_no_other(tenant: str) -> None:
    desk = Desk(*of(tenant, 3), *of("a", 3))
    async with desk.running():
        assert await desk.next(3) == ["a-0", "a-1", "a-2"]
    assert desk.rounds.bound.held == 0


@pytest.mark.parametrize("failure", [Rejected(Why.UNAVAILABLE, "away"), ValueError("a member nobody knows")])
async def test_a_claim_that_fails_is_tried_again(failure: Exception) -> None:
    desk = Desk(*of("a", 1), tick_s=0.01)
    desk.fails = [failure, failure]
    async with desk.running():
        assert await desk.next(1) == ["a-0"]


async def test_who_has_more_is_looked_at_again_at_once() -> None:
    desk = Desk(Errand("a", "more"))
    desk.again = {"more"}
    async with desk.running():
        assert await desk.next(1) == ["more"]
        desk.due = [Errand("a", "rest")]
        assert await desk.next(1) == ["rest"]
        desk.due = [Errand("a", "woken")]
        desk.rounds.wake()
        assert await desk.next(1) == ["woken"]


async def test_no_more_than_fit_are_begun_and_that_is_told() -> None:
    desk = Desk(*(errand for n in range(20) for errand in of(f"t{n}", 1)))
    desk.hold = {f"t{n}": asyncio.Event() for n in range(20)}
    assert len(await desk.rounds.look()) == AT_ONCE
    assert await desk.rounds.look() == []
    bound = desk.rounds.bound
    assert (bound.held, bound.cap, bound.hits) == (AT_ONCE, AT_ONCE, 2)
    desk.hold["t0"].set()
    assert await desk.next(1) == ["t0-0"]
    for event in desk.hold.values():
        event.set()
    assert len(await desk.next(7)) == 7


async def test_what_is_under_way_at_the_end_is_over_with_it() -> None:
    desk = Desk(*of("slow", 1), *of("a", 1))
    async with desk.running():
        await desk.next(1)
    assert desk.rounds.bound.held == 0
    assert await once(desk.rounds) == 0
