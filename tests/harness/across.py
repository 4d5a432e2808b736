"""A node's servers as its workers reach them: over a real channel, answered by a real seat."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from adapters.memory.bus import MemoryCache, MemoryEvents
from adapters.memory.counters import MemoryCounters
from core.call import Ask, Notify
from data_plane.channel import Channel, open_channel
from data_plane.messages import Answer, Found, News, Question
from data_plane.remote import RemoteBackend
from data_plane.supervisor.bus import NodeBus, Shared
from data_plane.supervisor.process import Process
from data_plane.supervisor.workers import Children, Seat, Workers


class _NoRules:
    def pointers(self) -> list[tuple[str, int, bytes]]:
        return []

    def lookup(self, tenant: str, manifest_digest: bytes) -> Found | None:
        return None


class WorkersEnd:
    """`channel.Peer` of the worker's end."""

    async def asked(self, question: Question, notify: Notify, ask: Ask) -> Answer:
        raise AssertionError

    def told(self, news: News) -> None:
        raise AssertionError

    def lost(self) -> None:
        pass


def _not_started(number: int, channel: socket.socket) -> Process:
    raise AssertionError


async def seats(children: Children, count: int) -> tuple[Workers, list[socket.socket]]:
    """Workers' places, and the ends of their channels that nobody holds yet."""
    shared = Shared(NodeBus(None), MemoryCache(monotonic), MemoryEvents(monotonic))
    workers = Workers(count, _not_started, _NoRules(), MemoryCounters(monotonic), children, shared=shared)
    ends = []
    for seat in workers.seats:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        seat.channel = await open_channel(ours, seat, f"worker {seat.number}")
        ends.append(theirs)
    return workers, ends


async def seated(children: Children) -> tuple[Seat, socket.socket]:
    """A worker's place, and the end of its channel that nobody holds yet."""
    workers, ends = await seats(children, 1)
    return workers.seats[0], ends[0]


@asynccontextmanager
async def linked(children: Children, count: int) -> AsyncIterator[tuple[Workers, list[Channel]]]:
    """A node's workers, and the channel of each."""
    workers, ends = await seats(children, count)
    channels = [await open_channel(end, WorkersEnd(), "supervisor") for end in ends]
    others = [seat.channel for seat in workers.seats]
    yield workers, channels
    for channel, other in zip(channels, others, strict=True):
        channel.abort()
        await channel.closed.wait()
        if other is not None:
            await other.closed.wait()


@asynccontextmanager
async def across(children: Children) -> AsyncIterator[RemoteBackend]:
    seat, theirs = await seated(children)
    supervisors_end = seat.channel
    channel = await open_channel(theirs, WorkersEnd(), "supervisor")
    yield RemoteBackend(channel)
    channel.abort()
    await channel.closed.wait()
    if supervisors_end is not None:
        await supervisors_end.closed.wait()
