"""Answers that are streams of events and outlive what opened them."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from core.mcp import sse
from data_plane.fronts.asgi import Header, Receive, Scope, Send, chunk, start
from data_plane.fronts.exchange import MAX_QUEUED_BYTES, SSE
from data_plane.fronts.server import CONNECTION, Connection


class EventStream:
    """One open answer, written by the task that answers: `run` it."""

    __slots__ = ("_ended", "_headers", "_queue", "_queued", "_send", "_wake", "gone", "quiet_since")

    def __init__(self, send: Send, headers: Sequence[Header]) -> None:
        """`headers`: besides those of every event stream."""
        self._send = send
        self._headers = (*SSE, *headers)
        self._queue: list[bytes] = []
        self._queued = 0
        self._wake: asyncio.Future[None] | None = None
        self._ended = False
        self.gone = False
        """The client went away, or does not read: nothing reaches it any more."""
        self.quiet_since = asyncio.get_running_loop().time()

    @property
    def queued_bytes(self) -> int:
        return self._queued

    def write(self, data: bytes) -> None:
        """Sends it in time; a client that does not read is dropped. Neither blocks nor raises."""
        if self._ended:
            return
        if self._queued + len(data) > MAX_QUEUED_BYTES:
            self.lost()
            return
        self._queue.append(data)
        self._queued += len(data)
        self._rouse()

    def keep_alive(self, now: float) -> None:
        self.quiet_since = now
        self.write(sse.PING)

    def end(self) -> None:
        """Behind what was written."""
        self._ended = True
        self._rouse()

    def lost(self) -> None:
        """At once: there is nobody to write to."""
        self.gone = True
        self._queue.clear()
        self.end()

    async def run(self) -> None:
        """Until it was ended, or its client is gone."""
        with contextlib.suppress(OSError):
            await self._send(start(200, self._headers))
            while self._queue or not self._ended:
                if self._queue:
                    data, self._queue = b"".join(self._queue), []
                    await self._send(chunk(data, more=True))
                    self._queued = sum(map(len, self._queue))
                else:
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
                    self._wake = None
            if not self.gone:
                await self._send(chunk(b"", more=False))

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class OpenStreams:
    """All of one worker, with one timer that keeps the silent ones alive."""

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._streams: dict[EventStream, Callable[[], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._streams)

    def queued_bytes(self) -> list[int]:
        return [stream.queued_bytes for stream in self._streams]

    def end_all(self) -> None:
        """The worker is leaving: each ends as its kind does."""
        for end in list(self._streams.values()):
            end()

    async def run(self, scope: Scope, receive: Receive, stream: EventStream, end: Callable[[], None]) -> None:
        """Writes it until it is over. `end`: ends it on our side."""
        self._streams[stream] = end
        if self._timer is None:
            self._arm()
        unwatch = _watch(scope, receive, stream)
        try:
            await stream.run()
        finally:
            unwatch()
            del self._streams[stream]
        connection = scope.get(CONNECTION)
        if stream.gone and isinstance(connection, Connection):
            connection.give_up()

    def _arm(self) -> None:
        self._timer = self._loop.call_later(self._quiet_s / 15, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        for stream in list(self._streams):
            if stream.quiet_since <= now - self._quiet_s:
                stream.keep_alive(now)
        if self._streams:
            self._arm()


def _watch(scope: Scope, receive: Receive, stream: EventStream) -> Callable[[], None]:
    connection = scope.get(CONNECTION)
    if isinstance(connection, Connection):
        return connection.watch(stream.lost)
    watcher = asyncio.get_running_loop().create_task(_disconnected(receive, stream))

    def unwatch() -> None:
        watcher.cancel()

    return unwatch


async def _disconnected(receive: Receive, stream: EventStream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.lost()
