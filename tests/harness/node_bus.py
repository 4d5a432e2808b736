"""What one worker of a node sees of what is shared: a real channel to a real supervisor's end of it."""

import socket

from core.call import Ask, Notify
from data_plane.channel import Channel, open_channel
from data_plane.messages import (
    After,
    Answer,
    Append,
    Delivered,
    Get,
    News,
    Publish,
    Put,
    Question,
    Subscribe,
    Subscribed,
    Unsubscribe,
)
from data_plane.remote import RemoteBus, RemoteCache, RemoteEvents
from data_plane.supervisor.bus import Shared, Subscriptions


class _Supervisor:
    """`channel.Peer` of the supervisor's end."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.subscriptions: Subscriptions | None = None

    async def asked(self, question: Question, notify: Notify, ask: Ask) -> Answer:
        assert isinstance(question, Publish | Put | Get | Append | After)
        return await self._shared.answer(question)

    def told(self, news: News) -> None:
        assert isinstance(news, Subscribe | Unsubscribe)
        assert self.subscriptions is not None
        self.subscriptions.told(news)

    def lost(self) -> None:
        assert self.subscriptions is not None
        self.subscriptions.close()


class WorkerEnd:
    """`channel.Peer` of the worker's end, and what it has over it."""

    def __init__(self) -> None:
        self.channel: Channel
        self.supervisors_end: Channel
        self.bus: RemoteBus
        self.cache: RemoteCache
        self.events: RemoteEvents

    async def asked(self, question: Question, notify: Notify, ask: Ask) -> Answer:
        raise AssertionError

    def told(self, news: News) -> None:
        assert isinstance(news, Delivered | Subscribed)
        self.bus.told(news)

    def lost(self) -> None:
        self.bus.lost()

    async def close(self) -> None:
        for channel in (self.channel, self.supervisors_end):
            channel.abort()
            await channel.closed.wait()


async def join(shared: Shared) -> WorkerEnd:
    """One more worker of the node."""
    ours, theirs = socket.socketpair()
    supervisor, worker = _Supervisor(shared), WorkerEnd()
    worker.supervisors_end = await open_channel(ours, supervisor, "worker")
    supervisor.subscriptions = Subscriptions(shared.bus, worker.supervisors_end)
    worker.channel = channel = await open_channel(theirs, worker, "supervisor")
    worker.bus, worker.cache, worker.events = RemoteBus(channel), RemoteCache(channel), RemoteEvents(channel)
    return worker
