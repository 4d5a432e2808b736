"""Streams hear of what they asked for as long as they may."""

import asyncio
import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from core.call import Inbound, Notification, Opening, Route, Subject
from core.server import HttpTransport
from core.snapshot import Backend
from data_plane.listeners import Listeners, Sight
from data_plane.snapshots import TenantSnapshot
from data_plane.streams import Streams
from data_plane.watches import UPDATED, Watches
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
        streams = Streams(self.listeners, self.watches, self._sight, lambda _: first)
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


async def test_what_was_closed_listens_no_more_whatever_comes_after(world: World) -> None:
    world.stream.close()
    world.stream.narrow((subject("a"),))
    world.stream.close()
    async with asyncio.timeout(5):
        while len(world.watches):
            await asyncio.sleep(0.01)
