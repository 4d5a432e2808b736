"""Streams hear of what they asked for as long as they may."""

import asyncio
import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from core.call import Inbound, Notification, Opening, Route, Subject
from core.errors import Reason, Unavailable
from core.server import HttpTransport
from core.snapshot import Backend
from data_plane.listeners import Listeners, Sight
from data_plane.snapshots import TenantSnapshot
from data_plane.streams import Stream, Streams
from data_plane.watches import MAX_WANTED, UPDATED, Watches
from tests.data_plane.stages.builders import inbound, snapshot
from tests.data_plane.test_watches import Announcer


class World:
    """A worker, and what its one listener may hear of in the snapshot in force."""

    def __init__(self, server: Announcer) -> None:
        self.allowed: set[str] = {"a", "b"}
        self.overhear = None
        self.told: list[str] = []
        self.watches = Watches({HttpTransport: server})
        self.listeners = Listeners(lambda _: None)
        first = snapshot()
        self.streams = streams = Streams(self.listeners, self.watches, self._sight, lambda _: first)
        subjects = tuple(map(subject, "ab"))
        self.stream = streams.open(inbound(), Opening(tenant="acme", subjects=subjects), self._tell, lambda: None)

    async def swap(self, generation: int, *allowed: str) -> None:
        self.allowed = set(allowed)
        self.listeners.swapped(snapshot(generation))
        for _ in range(3):
            await asyncio.sleep(0)

    def _sight(self, _: Inbound, _snapshot: TenantSnapshot, subjects: tuple[Subject, ...]) -> Sight:
        return Sight(subjects=tuple(one for one in subjects if one.exposed in self.allowed))

    def _tell(self, notification: Notification) -> None:
        self.told.append(json.loads(notification.params)["uri"])


def subject(uri: str) -> Subject:
    backend = Backend(server="files", transport=HttpTransport(url="http://x"), era="modern")
    return Subject(method=UPDATED, exposed=uri, route=Route(tenant="acme", backend=backend, tool=uri))


@pytest.fixture
def server() -> Announcer:
    return Announcer()


@pytest.fixture
async def world(server: Announcer) -> AsyncIterator[World]:
    made = World(server)
    await made.stream.settled()
    yield made
    made.stream.close()
    await made.watches.close()


async def test_what_a_caller_may_not_read_any_more_is_not_told_of_any_more(server: Announcer, world: World) -> None:
    await world.swap(2, "b")
    server.announce("a")
    server.announce("b")
    assert world.told == ["b"]
    await server.listens_for("b")


async def test_what_a_caller_may_read_again_is_told_of_again(server: Announcer, world: World) -> None:
    await world.swap(2)
    await world.swap(3, "a", "b")
    await world.stream.settled()
    server.announce("a")
    assert world.told == ["a"]


async def test_what_a_guard_leaves_out_is_not_told(server: Announcer, world: World) -> None:
    changed = msgspec.structs.replace(subject("a"), overhear=lambda note: None)
    world.stream.narrow((changed, subject("b")))
    server.announce("a")
    server.announce("b")
    assert world.told == ["b"]
    assert len(server.streams) == 1


async def test_a_task_is_told_of_in_the_names_the_agent_knows(world: World) -> None:
    heard: list[dict[str, object]] = []
    stream = Stream(world.watches, lambda note: heard.append(json.loads(note.params)), lambda: None)
    own = subject("t1")
    task = msgspec.structs.replace(
        own, method="notifications/tasks", exposed="sealed", exposed_uri=lambda uri: f"files+{uri}"
    )
    stream.hear_of((task,))
    await stream.settled()
    (watch,) = world.watches._watches.values()
    linked = {"content": [{"type": "resource_link", "uri": "file:///a", "name": "a"}]}
    for result in (linked, {"content": 7}):
        params = msgspec.json.encode({"taskId": "t1", "status": "completed", "result": result})
        watch._heard(Notification("notifications/tasks", params))
    stream.close()
    assert heard[0]["taskId"] == "sealed"
    assert heard[0]["result"]["content"][0]["uri"] == "files+file:///a"  # type: ignore[index]
    assert heard[1]["result"] == {"content": 7}


async def test_a_stream_that_would_hear_of_more_than_its_caller_may_is_not_opened(world: World) -> None:
    share = [subject(f"x:{number}") for number in range(MAX_WANTED // 4)]
    half = len(share) // 2
    opening = Opening(tenant="acme", principal="ann", subjects=tuple(share[:half]))
    first = world.streams.open(inbound(), opening, lambda _: None, lambda: None)
    world.allowed |= {one.exposed for one in share}
    more = msgspec.structs.replace(opening, subjects=(*share[half:], subject("y:1")))
    held = world.watches.wishes.held
    with pytest.raises(Unavailable) as refused:
        world.streams.open(inbound(), more, lambda _: None, lambda: None)
    assert refused.value.reason is Reason.OVERLOADED
    assert world.watches.wishes.held == held
    world.streams.open(inbound(), msgspec.structs.replace(more, subjects=more.subjects[:-1]), print, print).close()
    first.close()


async def test_what_was_closed_listens_no_more_whatever_comes_after(world: World) -> None:
    world.stream.close()
    world.stream.narrow((subject("a"),))
    world.stream.close()
    async with asyncio.timeout(5):
        while len(world.watches):
            await asyncio.sleep(0.01)
