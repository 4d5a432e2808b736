"""Servers under watch: a change is told soon, once, and for as long as was asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from core.call import Interest, Notification, Notify, Route
from core.errors import Reason, Unavailable
from core.server import HttpTransport
from data_plane.supervisor import watching
from data_plane.supervisor.watching import Watching
from tests.harness.upstream_route import route_to

ROUTE = route_to(HttpTransport(url="http://127.0.0.1:1/mcp"))
KEY = (ROUTE.tenant, ROUTE.backend.server)


class Server:
    """Listened to by whoever watches it; says what the test says."""

    def __init__(self) -> None:
        self.refuses = False
        self.silent = False
        self.watches: asyncio.Queue[Notify] = asyncio.Queue()
        self.left = asyncio.Event()
        self.lose = asyncio.Event()
        self.wanted: list[Interest] = []

    async def watch(self, route: Route, interest: Interest, tell: Notify, *, began: Callable[[], None]) -> None:
        self.wanted.append(interest)
        if self.refuses:
            raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "no")
        try:
            if not self.silent:
                began()
            self.watches.put_nowait(tell)
            await self.lose.wait()
            self.lose.clear()
            raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "lost")
        finally:
            self.left.set()


class Told:
    def __init__(self, watches: Watching) -> None:
        self.keys: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        watches.changed = lambda *key: self.keys.put_nowait(key)

    async def next(self) -> tuple[str, str]:
        async with asyncio.timeout(5):
            return await self.keys.get()


@asynccontextmanager
async def running(settle_s: float = 0.01, again_s: float = 0.01) -> AsyncIterator[tuple[Watching, Told]]:
    watches = Watching(settle_s=settle_s, again_s=(again_s, 1.0))
    told = Told(watches)
    task = asyncio.create_task(watches.run())
    await asyncio.sleep(0)
    try:
        yield watches, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def changed(kind: str = "tools") -> Notification:
    return Notification(f"notifications/{kind}/list_changed", b"{}")


async def test_a_change_is_told_once_however_often_the_server_says_it() -> None:
    server = Server()
    async with running(settle_s=0.05) as (watches, told):
        await watches.arm(server, ROUTE, 60.0, quiet_s=5.0)
        tell = await server.watches.get()
        tell(Notification("notifications/message", b"{}"))
        for kind in ("tools", "prompts", "resources"):
            tell(changed(kind))
        assert await told.next() == KEY
        assert told.keys.empty()
        tell(changed())
        assert await told.next() == KEY
    assert server.wanted == [Interest(lists=True)]


async def test_a_watch_that_begins_before_the_look_is_no_news_and_one_that_begins_later_is() -> None:
    early, late = Server(), Server()
    other = msgspec.structs.replace(ROUTE, tenant="other")
    async with running() as (watches, told):
        await watches.arm(early, ROUTE, 60.0, quiet_s=5.0)
        await watches.arm(late, other, 60.0)
        assert await told.next() == ("other", KEY[1])
        assert told.keys.empty()


async def test_a_watch_is_waited_for_only_so_long() -> None:
    server = Server()
    server.silent = True
    async with running() as (watches, told), asyncio.timeout(5):
        await watches.arm(server, ROUTE, 60.0, quiet_s=0.05)
        assert watches.watched() == [KEY]
        assert told.keys.empty()


async def test_a_watch_that_is_refused_is_not_waited_for() -> None:
    server = Server()
    server.refuses = True
    async with running() as (watches, told), asyncio.timeout(2):
        await watches.arm(server, ROUTE, 60.0, quiet_s=60.0)
        server.refuses = False
        assert await told.next() == KEY


async def test_a_lost_watch_is_taken_up_again_and_what_it_missed_counts_as_a_change() -> None:
    server = Server()
    async with running() as (watches, told):
        await watches.arm(server, ROUTE, 60.0, quiet_s=5.0)
        await server.watches.get()
        server.lose.set()
        assert await told.next() == KEY
        assert len(server.wanted) == 2


async def test_a_watch_ends_with_its_time_and_a_look_prolongs_it() -> None:
    server = Server()
    async with running() as (watches, _), asyncio.timeout(5):
        await watches.arm(server, ROUTE, 0.05, quiet_s=1.0)
        await watches.arm(server, ROUTE, 60.0)
        assert len(server.wanted) == 1
        await watches.arm(server, ROUTE, 0.05)
        await server.left.wait()
        assert watches.watched() == []


async def test_a_server_reached_in_another_way_is_watched_in_that_way() -> None:
    before, after = Server(), Server()
    moved = msgspec.structs.replace(ROUTE, headers=((b"Authorization", b"new"),))
    async with running() as (watches, told), asyncio.timeout(5):
        await watches.arm(before, ROUTE, 60.0, quiet_s=1.0)
        await watches.arm(after, moved, 60.0, quiet_s=1.0)
        await before.left.wait()
        (await after.watches.get())(changed())
        assert await told.next() == KEY
        assert watches.watched() == [KEY]
        watches.end(*KEY)
        await after.left.wait()


async def test_a_server_that_cannot_be_listened_to_is_tried_again_more_and_more_slowly() -> None:
    server = Server()
    server.refuses = True
    async with running(again_s=0.001) as (watches, told), asyncio.timeout(5):
        await watches.arm(server, ROUTE, 60.0)
        while len(server.wanted) < 4:
            await asyncio.sleep(0.001)
        server.refuses = False
        assert await told.next() == KEY


async def test_watches_are_capped_and_what_cannot_be_watched_is_left() -> None:
    async with running() as (watches, _):
        await watches.arm(object(), ROUTE, 60.0)
        assert watches.watched() == []
        for number in range(watching.MAX_WATCHES + 2):
            await watches.arm(Server(), msgspec.structs.replace(ROUTE, tenant=f"t{number}"), 60.0)
        assert (watches.bound.held, watches.bound.hits) == (watching.MAX_WATCHES, 2)


async def test_a_server_that_does_nothing_but_change_is_told_of_less_and_less_often() -> None:
    server = Server()
    async with running(settle_s=0.001) as (watches, told):
        await watches.arm(server, ROUTE, 60.0, quiet_s=5.0)
        tell = await server.watches.get()
        for _ in range(watching.BURST):
            tell(changed())
            assert await told.next() == KEY
        tell(changed())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(watching.EACH_S / 4):
                await told.keys.get()
        assert await told.next() == KEY
