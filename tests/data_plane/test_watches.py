"""One stream to a server for all who listen to it."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from core.bound import Bound
from core.call import Interest, Notification, Notify, Route
from core.errors import Reason, Unavailable
from core.server import HttpTransport
from core.snapshot import Backend
from data_plane.watches import MAX_WANTED, MAX_WISHES, TASK, UPDATED, Leave, Watches, Wish

SOON_S = 5.0


class Announcer:
    """A server that can be listened to, and whose streams a test can end."""

    def __init__(self) -> None:
        self.streams: list[tuple[Interest, Notify, asyncio.Event]] = []
        self.refuses = 0

    async def watch(self, route: Route, interest: Interest, tell: Notify, *, began: Callable[[], None]) -> None:
        assert route.deadline_s > 60
        if self.refuses:
            self.refuses -= 1
            raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "no")
        lost = asyncio.Event()
        stream = (interest, tell, lost)
        self.streams.append(stream)
        began()
        try:
            await lost.wait()
        finally:
            self.streams.remove(stream)
        raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "lost")

    async def listens_for(self, *uris: str) -> None:
        async with asyncio.timeout(SOON_S):
            while [interest.resources for interest, *_ in self.streams] != [uris]:
                await asyncio.sleep(0.01)

    def announce(self, uri: str) -> None:
        for _, tell, _lost in list(self.streams):
            tell(Notification(UPDATED, msgspec.json.encode({"uri": uri})))


@pytest.fixture
def server() -> Announcer:
    return Announcer()


@pytest.fixture
async def watches(server: Announcer) -> AsyncIterator[Watches]:
    made = Watches({HttpTransport: server})
    yield made
    await made.close()


def route(tenant: str = "acme", key: bytes = b"k") -> Route:
    backend = Backend(server="files", transport=HttpTransport(url="http://x"), era="modern")
    return Route(tenant=tenant, backend=backend, tool="", headers=((b"authorization", key),))


def updated(uri: str) -> Wish:
    return Wish(UPDATED, uri)


def nothing() -> None:
    """Nobody waits."""


async def begun(watches: Watches, wish: Wish, told: list[Notification], **where: object) -> Callable[[], None]:
    began = asyncio.Event()
    leave = watches.join(route(**where), wish, told.append, began.set)  # type: ignore[arg-type]
    await asyncio.wait_for(began.wait(), SOON_S)
    return leave


async def test_listeners_share_a_stream_and_each_hears_its_own(watches: Watches, server: Announcer) -> None:
    a: list[Notification] = []
    b: list[Notification] = []
    await begun(watches, updated("file:///a"), a)
    await begun(watches, updated("file:///b"), b)
    await server.listens_for("file:///a", "file:///b")
    server.announce("file:///a")
    server.announce("file:///b/part")
    server.announce("file:///c")
    assert [note.params for note in a] == [b'{"uri":"file:///a"}']
    assert [note.params for note in b] == [b'{"uri":"file:///b/part"}']
    assert len(watches) == 1


async def test_credentials_and_tenants_do_not_share(watches: Watches, server: Announcer) -> None:
    told: list[Notification] = []
    await begun(watches, updated("file:///a"), told)
    await begun(watches, updated("file:///a"), told, key=b"other")
    await begun(watches, updated("file:///a"), told, tenant="evil")
    assert (len(watches), len(server.streams)) == (3, 3)


async def test_the_stream_ends_with_the_last_listener(watches: Watches, server: Announcer) -> None:
    told: list[Notification] = []
    first = await begun(watches, updated("file:///a"), told)
    second = await begun(watches, updated("file:///b"), told)
    second()
    await server.listens_for("file:///a")
    first()
    async with asyncio.timeout(SOON_S):
        while len(watches) or server.streams:
            await asyncio.sleep(0.01)


async def test_after_a_gap_everything_may_have_changed(watches: Watches, server: Announcer) -> None:
    told: list[Notification] = []
    await begun(watches, updated("file:///a"), told)
    server.streams[0][2].set()
    async with asyncio.timeout(SOON_S):
        while not told:
            await asyncio.sleep(0.01)
    assert told == [Notification(UPDATED, b'{"uri":"file:///a"}')]
    await server.listens_for("file:///a")


async def test_a_server_that_cannot_be_listened_to_keeps_nobody_waiting(watches: Watches, server: Announcer) -> None:
    server.refuses = 1
    told: list[Notification] = []
    await begun(watches, updated("file:///a"), told)
    await server.listens_for("file:///a")
    server.announce("file:///a")
    assert told


async def test_tasks_are_told_by_their_id(watches: Watches, server: Announcer) -> None:
    told: list[Notification] = []
    await begun(watches, Wish(TASK, "t1"), told)
    _, tell, _ = server.streams[0]
    tell(Notification(TASK, b'{"taskId":"t2","status":"working"}'))
    tell(Notification(TASK, b'{"taskId":"t1","status":"working"}'))
    tell(Notification(TASK, b"7"))
    assert [note.params for note in told] == [b'{"taskId":"t1","status":"working"}']


async def test_one_caller_has_a_fourth_of_what_can_be_wanted_of_a_server(watches: Watches) -> None:
    def join(number: int, principal: str) -> Leave:
        return watches.join(route(), updated(f"file:///{number}"), lambda _: None, lambda: None, principal)

    leave, *_ = [join(number, "ann") for number in range(MAX_WANTED // 4)]
    join(0, "ann")
    with pytest.raises(Unavailable):
        join(-1, "ann")
    join(-1, "bob")
    leave()
    leave()
    with pytest.raises(Unavailable):
        join(-2, "ann")
    assert watches.wishes == Bound(MAX_WANTED // 4 + 1, MAX_WISHES, 2)


async def test_what_cannot_be_watched_is_counted() -> None:
    watches = Watches({})
    began = asyncio.Event()
    watches.join(route(), updated("file:///a"), lambda _: None, began.set)()
    assert began.is_set()
    assert (watches.refused, len(watches)) == (1, 0)
