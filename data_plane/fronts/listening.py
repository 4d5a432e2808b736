"""`subscriptions/listen`: the answer to one request is a stream of what changes, until either side ends it."""

from typing import Final

from core.call import Inbound, Notification, Opening, Result
from core.mcp import jsonrpc, notifications, sse
from data_plane.fronts import heads
from data_plane.fronts.asgi import Receive, Scope, Send
from data_plane.fronts.event_stream import EventStream, OpenStreams
from data_plane.fronts.exchange import MAX_QUEUED_BYTES
from data_plane.streams import Streams

_ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"


async def listen(  # noqa: PLR0917 - ASGI's three, and what is answered
    scope: Scope,
    receive: Receive,
    send: Send,
    inbound: Inbound,
    id_: bytes,
    result: Result,
    streams: Streams,
    opened: OpenStreams,
) -> None:
    """Serves what the pipeline allowed. Raises Unavailable, and has sent nothing then."""
    assert result.opening is not None
    await _Subscription(EventStream(send, heads.cors(inbound.origin)), id_).serve(
        scope, receive, inbound, result.opening, result.result, streams, opened
    )


class _Subscription:
    """One stream: first what it is a stream of, then what happens, at last that it is over."""

    __slots__ = ("_early", "_held", "_id", "_out", "_over")

    def __init__(self, out: EventStream, id_: bytes) -> None:
        self._out = out
        self._id = id_
        self._early: list[bytes] | None = []
        """What was told before the stream was acknowledged."""
        self._held = 0
        self._over = False

    async def serve(  # noqa: PLR0917 - as above
        self,
        scope: Scope,
        receive: Receive,
        inbound: Inbound,
        opening: Opening,
        acknowledgement: bytes,
        streams: Streams,
        opened: OpenStreams,
    ) -> None:
        stream = streams.open(inbound, opening, self._tell, self._end)
        try:
            await stream.settled()
            early, self._early = self._early or [], None
            self._tell(Notification(_ACKNOWLEDGED, acknowledgement))
            for data in early:
                self._out.write(data)
            if self._over:
                self._out.end()
            await opened.run(scope, receive, self._out, self._end)
        finally:
            stream.close()

    def _tell(self, notification: Notification) -> None:
        self._write(sse.event(notifications.subscribed(notification, self._id)))

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._write(sse.event(jsonrpc.result(self._id, notifications.unsubscribed(self._id))))
        if self._early is None:
            self._out.end()

    def _write(self, data: bytes) -> None:
        if self._early is not None:
            self._held += len(data)
            if self._held > MAX_QUEUED_BYTES:
                self._out.lost()
            else:
                self._early.append(data)
        else:
            self._out.write(data)
