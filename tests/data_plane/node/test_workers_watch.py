"""A worker that listens to a server of its node, and does not keep up."""

import asyncio
import socket
import struct
from collections.abc import Callable

import msgspec
import pytest

from core import call
from core.call import Interest, Notification, Notify, Outgoing, Raw, Route
from core.errors import Reason, Unavailable
from core.server import StdioTransport
from core.snapshot import Backend
from data_plane.channel import ChannelLost
from data_plane.messages import Ask, Failed, Frame, Note, Reply, Watch
from data_plane.supervisor.workers import Seat
from tests.harness.across import seated

ROUTE = Route(
    tenant="acme", backend=Backend(server="s", transport=StdioTransport(command=["p"]), era="legacy"), tool=""
)
WATCH = Watch(ROUTE, Interest())


class Talkative:
    """A node's servers: one that tells as long as anybody listens."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.ended = asyncio.Event()

    async def call(self, route: Route, outgoing: Outgoing, notify: Notify, ask: call.Ask | None = None) -> Raw:
        raise AssertionError

    async def watch(self, route: Route, interest: Interest, tell: Notify, *, began: Callable[[], None]) -> None:
        try:
            began()
            for _ in range(self._most):
                tell(Notification("notifications/resources/updated", b"x" * 50_000))
                await asyncio.sleep(0)
            raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "gone", detail="it ended")
        finally:
            self.ended.set()


async def watching(children: Talkative) -> tuple[Seat, socket.socket]:
    """A worker that listens, and whose other end is this test, which reads when it likes."""
    seat, theirs = await seated(children)
    body = msgspec.msgpack.encode(Ask(1, WATCH))
    await asyncio.get_running_loop().sock_sendall(theirs, struct.pack(">I", len(body)) + body)
    return seat, theirs


async def frames(theirs: socket.socket) -> list[Frame]:
    """All, up to the reply."""
    loop, buffer, found = asyncio.get_running_loop(), b"", list[Frame]()
    while not found or not isinstance(found[-1], Reply):
        buffer += await loop.sock_recv(theirs, 1 << 20)
        while len(buffer) >= 4 and len(buffer) >= 4 + int.from_bytes(buffer[:4], "big"):
            end = 4 + int.from_bytes(buffer[:4], "big")
            found.append(msgspec.msgpack.decode(buffer[4:end], type=Frame))
            buffer = buffer[end:]
    return found


async def test_one_that_reads_is_told_everything_and_how_it_ended() -> None:
    seat, theirs = await watching(Talkative(most=100))
    async with asyncio.timeout(20):
        *notes, reply = await frames(theirs)
    assert [note.body.method for note in notes if isinstance(note, Note)] == [
        "",
        *["notifications/resources/updated"] * 100,
    ]
    assert isinstance(reply, Reply)
    assert isinstance(reply.body, Failed)
    assert (reply.body.reason, reply.body.detail) == ("upstream_unavailable", "it ended")
    assert seat.channel is not None
    seat.channel.abort()
    theirs.close()


async def test_one_that_reads_nothing_is_told_that_it_missed_something() -> None:
    children = Talkative(most=100_000)
    seat, theirs = await watching(children)
    async with asyncio.timeout(20):
        await children.ended.wait()
        *notes, reply = await frames(theirs)
    assert 50 < len(notes) < 1000
    assert isinstance(reply, Reply)
    assert isinstance(reply.body, Failed)
    assert (reply.body.kind, reply.body.reason) == ("unavailable", "overloaded")
    assert seat.channel is not None
    seat.channel.abort()
    with pytest.raises(ChannelLost):
        await seat.channel.ask(WATCH)
    theirs.close()
