"""An event stream that outlives any one request: what a GET, or a subscription, is answered with."""

import asyncio
from collections.abc import Callable

from data_plane.upstreams import jsonrpc
from data_plane.upstreams.connection import Connection, ExchangeError, Headers
from data_plane.upstreams.failure import clipped, unavailable
from data_plane.upstreams.jsonrpc import Message, NotMcpError
from data_plane.upstreams.sse import Event, EventParser, TooLongError

_EVENT_BYTES = 1024 * 1024
_REFUSAL_BYTES = 64 * 1024


class Stream:
    """A `Receiver`. `opened`: a stream has begun; raises Unavailable where it never does. `ended`: why it is over."""

    def __init__(self, hear: Callable[[Event], None], last_id: str = "") -> None:
        """`hear` gets events with data; it may raise NotMcpError, which ends the stream."""
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()
        self.events = EventParser(_EVENT_BYTES, last_id)
        self.connection: Connection | None = None
        self._hear = hear
        self.on_overlong: Callable[[], None] = lambda: None
        """Called before the stream ends for an event beyond `events.max_bytes`."""
        self._status = 0
        self._refusal = b""

    def close(self) -> None:
        if self.connection is not None and self.connection.carries(self):
            self.connection.abandon()
        self._end("nobody listens")
        self.opened.cancel()

    # Receiver.

    def head(self, status: int, headers: Headers) -> None:
        self._status = status
        streams = headers.get(b"content-type", b"").lower().startswith(b"text/event-stream")
        if status == 200 and streams and not self.opened.done():
            self.opened.set_result(None)

    def data(self, chunk: bytes) -> None:
        if not self.opened.done():
            self._refusal += chunk[: _REFUSAL_BYTES - len(self._refusal)]
            return
        try:
            for event in self.events.feed(chunk):
                self._hear(event)
        except TooLongError:
            self.on_overlong()
            self._stop(f"tells more than {self.events.max_bytes} bytes at once")
        except NotMcpError as failure:
            self._stop(str(failure))

    def finished(self) -> None:
        self._end("its stream ended")

    def failed(self, failure: ExchangeError) -> None:
        self._end(failure.detail)

    def _stop(self, why: str) -> None:
        self._end(why)
        if self.connection is not None:
            self.connection.abandon()

    def _end(self, why: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(unavailable(self._refused() if self._status else why))
            self.opened.exception()  # Retrieved: it may be that nobody waits any more.
        if not self.ended.done():
            self.ended.set_result(why)

    def _refused(self) -> str:
        if self._status == 405:
            return "tells of nothing outside of its answers: HTTP 405"
        try:
            error = jsonrpc.answer_of(jsonrpc.decode(self._refusal), 0).error
            return f"refuses a stream: HTTP {self._status}, {clipped(jsonrpc.error_message(error))}"
        except NotMcpError:
            return f"refuses a stream: HTTP {self._status}"


def message_of(event: Event) -> Message | None:
    """None: an event of another kind, or one that only primes resumption. Raises NotMcpError."""
    return jsonrpc.decode(event.data) if event.data and event.event == b"message" else None
