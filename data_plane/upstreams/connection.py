"""One HTTP/1.1 connection: a request is one write, its answer goes to a receiver as it arrives.

No task, queue or stream reader stands between the socket and the receiver: what a receiver does not keep is not kept,
so memory is bounded by the receiver's own cap.
"""

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from data_plane.outbox import Outbox

MAX_HEAD_BYTES = 64 * 1024
_MAX_HEADERS = 256
_DRAIN_BYTES = 64 * 1024
_DRAIN_S = 5.0
_FRESH_S = 0.01

Headers = dict[bytes, bytes]
"""Lower-case names; values without edge whitespace; of a repeated header the values are joined by a comma."""


class ExchangeError(Exception):
    """The exchange ended without a complete answer. `answered` says whether any byte of an answer had come.

    `unsent`: nothing of the request left this machine.
    """

    def __init__(self, detail: str, *, answered: bool, unsent: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.answered = answered
        self.unsent = unsent


class Receiver(Protocol):
    """What an answer is delivered to, on the loop. Methods must not raise; `finished` or `failed` comes last, once."""

    def head(self, status: int, headers: Headers) -> None: ...

    def data(self, chunk: bytes) -> None: ...

    def finished(self) -> None: ...

    def failed(self, failure: ExchangeError) -> None: ...


class Connection(asyncio.Protocol):
    """Carries one exchange at a time. `on_free` is called when it may carry another, `on_lost` once when it is gone."""

    def __init__(
        self, on_free: Callable[["Connection"], None], on_lost: Callable[["Connection"], None], outbox: Outbox
    ) -> None:
        self._on_free = on_free
        self._on_lost = on_lost
        self._outbox = outbox
        self._unsent = False
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._poll = select.poll()
        self._headers: Headers = {}
        self._head_bytes = 0
        self._status = 0
        self._started = False
        self._reusable = False
        self._until_close = False
        self._drain: asyncio.TimerHandle | None = None
        self._exchanges = 0
        self.free_since = 0.0
        self.idle_limit_s = float("inf")
        """What the server said it keeps an idle connection for, less a margin."""

    # What the pool and the backends call.

    def usable(self, now: float) -> bool:
        """Open, with nothing waiting to be read: a close the loop has not seen yet counts as closed.

        One that was reused before and freed a moment ago is not looked at again: its server keeps connections.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        return (self._exchanges > 1 and now - self.free_since < _FRESH_S) or not self._poll.poll(0)

    def send(self, request: bytes, receiver: Receiver) -> bool:
        """Write a whole request. False: the write failed and nothing of it left this machine."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        self._receiver = receiver
        transport.write(request)
        if transport.is_closing():
            self._receiver = None
            return False
        return True

    def send_soon(self, request: bytes, receiver: Receiver) -> bool:
        """As `send`, at the end of this turn of the loop. A write that fails then reaches the receiver as `unsent`."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        self._receiver, self._unsent = receiver, True
        self._outbox.add(self._put, request)
        return True

    def _put(self, request: bytes) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(request)
            self._unsent = transport.is_closing()

    def probe_peer(self) -> None:
        """For an answer that lasts for hours: the kernel finds out when the peer is gone without a word."""
        if self._transport is not None:
            probe(self._transport.get_extra_info("socket"))

    def carries(self, receiver: Receiver) -> bool:
        """Whether this receiver's exchange is still the one under way here."""
        return self._receiver is receiver

    def abandon(self) -> None:
        """Close now: for HTTP/1.1 the only way to tell the server that its answer is not wanted."""
        self._receiver = None
        if self._transport is not None:
            self._transport.abort()

    def cut(self) -> None:
        """Close now, and let its receiver know."""
        self._fail("the gateway let go of the server")

    def drain(self) -> None:
        """The answer is had: read what little is left of the stream and be free again; too much or too slow: close."""
        if self._receiver is None or self._transport is None:
            return
        self._receiver = _Drain(self)
        self._drain = asyncio.get_running_loop().call_later(_DRAIN_S, self.abandon)

    # asyncio's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(
            transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLERR | select.POLLHUP
        )

    def data_received(self, data: bytes) -> None:
        if self._receiver is None:
            self.abandon()
            return
        self._started = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as failure:
            self._fail(f"answers what is not HTTP/1.1: {failure}")
        except httptools.HttpParserUpgrade:
            self._fail("switched protocols unasked")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        receiver = self._receiver
        if receiver is not None and self._until_close and exc is None:
            self._finish(receiver)
        elif receiver is not None:
            self._fail("closed the connection before its answer was complete" if exc is None else f"connection: {exc}")
        self._stop_drain()
        self._on_lost(self)

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        self._headers = {}
        self._head_bytes = 0
        if self._receiver is None:
            self.abandon()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES or len(self._headers) >= _MAX_HEADERS:
            self._fail("its answer's head is too large")
            return
        name, value = name.lower(), value.strip()
        known = self._headers.get(name)
        self._headers[name] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        receiver = self._receiver
        if receiver is None or self._status < 200:
            return
        headers = self._headers
        framed = b"content-length" in headers or b"transfer-encoding" in headers or self._status in (204, 304)
        self._until_close = not framed
        self._reusable = framed and self._parser.should_keep_alive()
        if b"keep-alive" in headers:
            self.idle_limit_s = _idle_limit_s(headers[b"keep-alive"])
        receiver.head(self._status, headers)

    def on_body(self, chunk: bytes) -> None:
        if self._receiver is not None:
            self._receiver.data(chunk)

    def on_message_complete(self) -> None:
        if self._receiver is not None and self._status >= 200:
            self._finish(self._receiver)

    # Ends of an exchange.

    def _finish(self, receiver: Receiver) -> None:
        self._receiver = None
        self._exchanges += 1
        self._started = self._until_close = False
        self._stop_drain()
        receiver.finished()
        if self._reusable and self._transport is not None and not self._transport.is_closing():
            self._on_free(self)
        else:
            self.abandon()

    def _fail(self, detail: str) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.failed(ExchangeError(detail, answered=self._started, unsent=self._unsent))
        self.abandon()

    def _stop_drain(self) -> None:
        if self._drain is not None:
            self._drain.cancel()
            self._drain = None


def probe(sock: socket.socket) -> None:
    """A peer that is silent and gone is noticed within a minute and a half."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class _Drain:
    """Swallows the rest of an answer nobody needs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._left = _DRAIN_BYTES

    def head(self, status: int, headers: Headers) -> None:
        pass

    def data(self, chunk: bytes) -> None:
        self._left -= len(chunk)
        if self._left < 0:
            self._connection.abandon()

    def finished(self) -> None:
        pass

    def failed(self, failure: ExchangeError) -> None:
        pass


def _idle_limit_s(keep_alive: bytes) -> float:
    """Of `timeout=5, max=100`: 4, so that we close before the server does."""
    for part in keep_alive.split(b","):
        name, _, value = part.strip().partition(b"=")
        if name.lower() == b"timeout" and value.isdigit():
            return max(float(value) - 1.0, 0.0)
    return float("inf")
