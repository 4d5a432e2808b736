"""Several messages in one POST, as revision 2025-03-26 has it: each passes the pipeline by itself, all at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from core.call import Inbound, Notification, Question, Reply
from core.mcp import notifications, sse
from data_plane.fronts import heads
from data_plane.fronts.asgi import NOSNIFF, Header, Receive, Scope, Send, answer
from data_plane.fronts.back_channel import BackChannel
from data_plane.fronts.event_stream import EventStream, OpenStreams
from data_plane.fronts.exchange import Cause

Answer = Callable[["Entry"], Awaitable[bytes]]


class Batch:
    """One POST's answer: an array, or a stream of the single responses from the first message before one of them on."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        streams: bool,
        cors: Sequence[Header],
        opened: OpenStreams,
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.streams = streams
        self._cors = cors
        self._opened = opened
        self._answers: list[bytes] = []
        self._out: EventStream | None = None
        self._writing: asyncio.Task[None] | None = None

    @property
    def queued_bytes(self) -> int:
        return self._out.queued_bytes if self._out is not None else 0

    def say(self, message: bytes) -> bool:
        """Sends a message at once; False where the client takes no stream, or is gone."""
        if not self.streams:
            return False
        if self._out is None:
            self._out = EventStream(self._send, self._cors)
            self._writing = asyncio.ensure_future(self._opened.run(self._scope, self._receive, self._out, lambda: None))
        self._out.write(sse.event(message))
        return not self._out.gone

    def beat(self, now: float) -> None:
        if self._out is not None:
            self._out.keep_alive(now)

    def answered(self, message: bytes) -> None:
        if self._out is not None:
            self.say(message)
        else:
            self._answers.append(message)

    async def finish(self) -> None:
        """All entries are done."""
        if self._out is not None and self._writing is not None:
            for message in self._answers:
                self.say(message)
            self._out.end()
            await self._writing
        elif self._answers:
            await answer(self._send, 200, (*heads.WHOLE, *self._cors), b"[" + b",".join(self._answers) + b"]")
        else:
            await answer(self._send, 202, (NOSNIFF, *self._cors))


class Entry:
    """A request of a batch. To be made in its own task."""

    def __init__(self, batch: Batch, inbound: Inbound, back_channel: BackChannel) -> None:
        self._batch = batch
        self._inbound = inbound
        self._back_channel = back_channel
        self._task = asyncio.current_task()
        self.running = True
        self.cause: Cause | None = None
        self.quiet_since = asyncio.get_running_loop().time()

    @property
    def queued_bytes(self) -> int:
        return self._batch.queued_bytes

    def notify(self, notification: Notification) -> None:
        message = notifications.outgoing(notification, self._inbound) if self.running else None
        if message is not None:
            self._batch.say(message)

    async def ask(self, question: Question) -> Reply:
        return await self._back_channel.ask(self._inbound, question, self._batch.say)

    def keep_alive(self, now: float) -> None:
        self.quiet_since = now
        self._batch.beat(now)

    def cancel(self, cause: Cause) -> bool:
        if not self.running or self.cause is not None or self._task is None:
            return False
        self.cause = cause
        return self._task.cancel()
