"""One request in flight: answered as JSON, or as a stream from the first message before its result on."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Literal

from core.call import Inbound, Notification, Question, Reply
from core.mcp import notifications, sse
from data_plane.fronts.asgi import NOSNIFF, Header, Send, answer, chunk, start
from data_plane.fronts.back_channel import BackChannel
from data_plane.fronts.trails import RESUMABLE, RETRY_MS, Trail, Trails

MAX_QUEUED_BYTES = 1024 * 1024
"""What may wait for a client that does not read; more, and its call is cancelled."""

Cause = Literal["disconnected", "cancelled", "slow", "shutdown"]

Respond = Callable[[int, Sequence[Header], bytes], bool]

SSE: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    NOSNIFF,
)


class Exchange:
    """Lives on one event loop, from the request's arrival to the last byte of its answer."""

    __slots__ = (
        "_back_channel",
        "_cors",
        "_ended",
        "_id",
        "_inbound",
        "_lost",
        "_pump",
        "_queue",
        "_queued",
        "_respond",
        "_send",
        "_streams",
        "_task",
        "_trail",
        "_trails",
        "_wake",
        "cause",
        "quiet_since",
        "running",
    )

    def __init__(
        self,
        inbound: Inbound,
        send: Send,
        *,
        respond: Respond | None,
        streams: bool,
        cors: Sequence[Header],
        loop: asyncio.AbstractEventLoop,
        back_channel: BackChannel,
        trails: Trails,
        id: bytes,  # noqa: A002
    ) -> None:
        """To be made in the call's task. `respond`: a faster way to send a whole answer; False if it cannot.

        `streams`: the client takes an event stream; `cors`: headers of one. `id`: the request's, as JSON.
        """
        self._inbound = inbound
        self._send = send
        self._respond = respond
        self._streams = streams
        self._cors = cors
        self._back_channel = back_channel
        self._trails = trails
        self._id = id
        self._task = asyncio.current_task(loop)
        self._trail: Trail | None = None
        self._lost = False
        self._pump: asyncio.Task[None] | None = None
        self._queue: list[bytes] = []
        self._queued = 0
        self._wake: asyncio.Future[None] | None = None
        self._ended = False
        self.running = True
        """The pipeline has the request; after that there is nothing to cancel."""
        self.cause: Cause | None = None
        """Why this front cancelled the call."""
        self.quiet_since = loop.time()

    def notify(self, notification: Notification) -> None:
        """The pipeline's way to the caller before the result. Dropped where it was not asked for or cannot be sent."""
        if not self._streams or not self.running:
            if notification.method == notifications.ELICITED:
                self._back_channel.elicited(notification)
            return
        message = notifications.outgoing(notification, self._inbound)
        if message is not None:
            self._say(message)

    async def ask(self, question: Question) -> Reply:
        """A server's way to a caller of the handshake era, who answers with a POST of its own: `core.call.Ask`."""
        return await self._back_channel.ask(self._inbound, question, self._put)

    def disconnected(self) -> None:
        """The client's connection is gone, and with it who called."""
        self.cancel("disconnected")

    def lost(self) -> None:
        """The client's connection is gone, which cancels nothing here; where it can, it takes the stream up again."""
        self._lost = True

    @property
    def queued_bytes(self) -> int:
        return self._queued

    def keep_alive(self, now: float) -> None:
        """Called when nothing was sent for long: commits to a stream, or sends a comment on it."""
        if self._streams:
            self.quiet_since = now
            self._open()
            self._write(sse.PING)

    def cancel(self, cause: Cause) -> bool:
        """Cancels the call in the pipeline; False if it is over or being cancelled already."""
        if not self.running or self.cause is not None or self._task is None:
            return False
        self.cause = cause
        return self._task.cancel()

    def over(self) -> None:
        """The pipeline is done with the request: nothing to notify of or to cancel any more.

        The request leads back here by its `notify`: a ring that only the garbage collector could free, call by call.
        """
        self.running = False
        del self._inbound

    def answered(self, status: int, headers: Sequence[Header], message: bytes) -> bool:
        """The whole response at once, where that can be; `finish` where it is False."""
        return self._pump is None and self._respond is not None and self._respond(status, headers, message)

    async def finish(self, status: int, headers: Sequence[Header], message: bytes) -> None:
        """The response, as the last event if the answer is a stream by now; the status counts only if it is not."""
        if self._pump is None:
            await answer(self._send, status, headers, message)
            return
        id_ = self._trail.add(message, last=True).id if self._trail is not None else ""
        self._queue.append(sse.event(message, id_))
        await self.end()

    async def end(self) -> None:
        """Waits for what is queued, and closes the stream if there is one."""
        self._ended = True
        self._rouse()
        if self._pump is not None:
            await self._pump

    async def drop(self) -> None:
        """The client is gone or hopeless: forget what is queued."""
        if self._trail is not None:
            self._trail.end()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait((self._pump,))

    def _put(self, message: bytes) -> bool:
        """Whether the client may get to see it."""
        if not self.running or (self._lost and self._trail is None):
            return False
        self._say(message)
        return True

    def _say(self, message: bytes) -> None:
        self._open()
        self._write(sse.event(message, self._trail.add(message).id if self._trail is not None else ""))

    def _open(self) -> None:
        """The answer is a stream from here on; one to be taken up again, for clients that know how to."""
        if self._pump is not None:
            return
        inbound = self._inbound
        if inbound.era == "legacy" and inbound.session and inbound.revision >= RESUMABLE:
            self._trail = self._trails.begin("call", inbound.session, self._taken, self._id)
            if self._trail is not None:
                self._queue.append(sse.priming(self._trail.add(b"").id, RETRY_MS))
        self._pump = asyncio.get_running_loop().create_task(self._stream())

    def _taken(self) -> None:
        """The client reads on from another connection."""
        self._lost = self._ended = True
        self._rouse()

    def _write(self, data: bytes) -> None:
        if self._lost and self._trail is not None:
            return
        if self._queued + len(data) > MAX_QUEUED_BYTES:
            self.cancel("slow")
            return
        self._queue.append(data)
        self._queued += len(data)
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _stream(self) -> None:
        """The only writer of a streamed answer, so that `notify` never waits. Ends when the exchange has ended."""
        with contextlib.suppress(OSError):
            await self._send(start(200, (*SSE, *self._cors)))
            while self._queue or not self._ended:
                if self._queue:
                    data, self._queue = b"".join(self._queue), []
                    await self._send(chunk(data, more=True))
                    self._queued = sum(map(len, self._queue))
                else:
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
            await self._send(chunk(b"", more=False))
