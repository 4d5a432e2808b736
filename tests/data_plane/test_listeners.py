"""Who listens hears of what changes for them, and of nothing else."""

import asyncio
import dataclasses

import pytest

from core.call import Notification
from core.errors import Unavailable
from data_plane.listeners import Listener, Listeners, Sight, Wanted
from data_plane.snapshots import TenantSnapshot
from tests.data_plane.stages.builders import snapshot

ALL = Wanted(tools=True, prompts=True, resources=True)
BEFORE = Sight(tools=b"t", prompts=b"p", resources=b"r")


class Stream:
    """A listener's end, which remembers."""

    def __init__(self, now: Sight | None, wanted: Wanted = ALL) -> None:
        self.heard: list[str] = []
        self.ended = asyncio.Event()
        self.now = now
        self.listener = Listener(
            tenant="acme",
            wanted=wanted,
            look=lambda _: self.now,
            sight=BEFORE,
            tell=self._tell,
            end=self.ended.set,
            generation=1,
        )

    def _tell(self, notification: Notification) -> None:
        self.heard.append(notification.method.split("/")[1])


def listeners(cap: int = 100) -> Listeners:
    return Listeners(lambda _: None, cap)


async def settled(held: Listeners, taken: TenantSnapshot) -> None:
    held.swapped(taken)
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("now", "wanted", "heard"),
    [
        (BEFORE, ALL, []),
        (Sight(tools=b"T", prompts=b"p", resources=b"r"), ALL, ["tools"]),
        (Sight(tools=b"T", prompts=b"P", resources=b"R"), ALL, ["tools", "prompts", "resources"]),
        (Sight(tools=b"T", prompts=b"P", resources=b"R"), Wanted(prompts=True), ["prompts"]),
    ],
)
async def test_a_change_is_told_to_those_who_see_it(now: Sight, wanted: Wanted, heard: list[str]) -> None:
    held, stream = listeners(), Stream(now, wanted)
    held.open(stream.listener)
    await settled(held, snapshot(generation=2))
    assert stream.heard == heard
    await settled(held, snapshot(generation=3))
    assert stream.heard == heard
    assert not stream.ended.is_set()


async def test_an_older_snapshot_that_comes_late_changes_nothing() -> None:
    held, stream = listeners(), Stream(Sight(tools=b"T"))
    held.open(stream.listener)
    await settled(held, snapshot(generation=3))
    stream.heard.clear()
    stream.now = Sight(tools=b"old")
    await settled(held, snapshot(generation=2))
    assert stream.heard == []


async def test_who_has_no_right_any_more_is_ended() -> None:
    held, stream, other = listeners(), Stream(None), Stream(BEFORE)
    held.open(stream.listener)
    held.open(other.listener)
    await settled(held, snapshot(generation=2))
    assert stream.ended.is_set()
    assert not other.ended.is_set()
    held.withdrawn("acme")
    assert other.ended.is_set()


async def test_beyond_the_cap_nobody_listens_until_somebody_leaves() -> None:
    held = listeners(cap=1)
    close = held.open(Stream(BEFORE).listener)
    with pytest.raises(Unavailable):
        held.open(Stream(BEFORE).listener)
    close()
    close()
    assert (len(held), held.refused) == (0, 1)
    held.open(Stream(BEFORE).listener)


async def test_one_caller_has_a_fourth_of_all_streams() -> None:
    def of(principal: str) -> Listener:
        return dataclasses.replace(Stream(BEFORE).listener, principal=principal)

    held = listeners(cap=8)
    close, _ = held.open(of("ann")), held.open(of("ann"))
    with pytest.raises(Unavailable, match="This caller"):
        held.open(of("ann"))
    held.open(of("bob"))
    close()
    close()
    held.open(of("ann"))
    assert (len(held), held.refused) == (3, 1)


async def test_a_change_is_told_once_the_other_replicas_have_it_and_only_to_those_still_there() -> None:
    held = Listeners(lambda _: None, settle_s=0.05)
    staying, leaving = (Stream(Sight(tools=b"T", prompts=b"p", resources=b"r")) for _ in range(2))
    held.open(staying.listener)
    leave = held.open(leaving.listener)
    await settled(held, snapshot(generation=2))
    assert staying.heard == []
    leave()
    async with asyncio.timeout(5):
        while not staying.heard:
            await asyncio.sleep(0.01)
    assert (staying.heard, leaving.heard) == (["tools"], [])
