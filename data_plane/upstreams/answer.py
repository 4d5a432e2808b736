"""The answer to one POSTed JSON-RPC request, however it comes: JSON or a stream of events, whole, broken or hostile."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from core.call import Notify, Raw
from core.errors import Unavailable
from core.mcp.errors import METHOD_NOT_FOUND
from core.mcp.notifications import ELICITED
from data_plane.upstreams import jsonrpc
from data_plane.upstreams.connection import Connection, ExchangeError, Headers
from data_plane.upstreams.declared import QUESTIONS
from data_plane.upstreams.failure import ChallengedError, clipped, too_large, unavailable, unintelligible
from data_plane.upstreams.jsonrpc import Listener, Message, NotMcpError
from data_plane.upstreams.sse import EventParser, TooLongError

_ENVELOPE_BYTES = 64 * 1024
"""What an answer may hold around its result."""
_STREAM_FACTOR = 2
"""A stream may carry its answer and as much again of notifications."""

Ask = Callable[[Message], None]
"""What to do with a request of the server's own, with its taking one back (`notifications/cancelled`), or with its
saying that an elicitation is complete.
"""
_BESIDES: Final = ("notifications/cancelled", ELICITED)


class SessionGone(msgspec.Struct, frozen=True):
    """The server does not know the session the request named, so it has not looked at the request."""


class StreamEnded(msgspec.Struct, frozen=True):
    """The stream ended before the answer came, and the server gives ids to its events: it can be taken up again."""

    last_id: str
    retry_ms: int | None


Outcome = Raw | SessionGone | StreamEnded


class Answer:
    """A `Receiver`. `outcome` is set once; what it raises is Unavailable, or ExchangeError before any answer byte."""

    # Defaults of the class: one is made per call, and most calls need few of these.
    headers: Headers = {}  # noqa: RUF012 - replaced as a whole.
    connection: Connection | None = None
    """Whom to tell that the answer is had while its stream goes on."""
    closes = False
    """Who does not wait for it any more says so by closing the connection."""
    _status = 0
    _size = 0
    _events: EventParser | None = None

    def __init__(
        self,
        request_id: int,
        max_bytes: int,
        listener: Listener,
        notify: Notify,
        *,
        on_request: Ask | None = None,
        in_session: bool = False,
        resumes: str = "",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`on_request`: given in the legacy era only. `in_session`: the request named a session. `resumes`: last event
        id of the stream taken up.
        """
        self._loop = loop or asyncio.get_running_loop()
        self.outcome: asyncio.Future[Outcome] = self._loop.create_future()
        self._id = request_id
        self._max = max_bytes
        self._listener = listener
        self._notify = notify
        self._on_request = on_request
        self._resumes = resumes
        self._in_session = in_session
        self._chunks: list[bytes] = []

    def expect(self) -> None:
        """Wait anew: nothing was sent, or what was heard is of no use."""
        self.outcome = self._loop.create_future()
        self._chunks, self._size = [], 0

    def give_up(self, failure: BaseException) -> None:
        """What the server needs in order to answer could not be had."""
        if not self.outcome.done():
            self.outcome.set_exception(failure)
            if self.connection is not None:
                self.connection.abandon()

    # Receiver.

    def head(self, status: int, headers: Headers) -> None:
        self._status, self.headers = status, headers
        if headers.get(b"content-encoding", b"identity") != b"identity":
            self._end(unavailable("answers with a content encoding that was not asked for"))
        elif _length(headers) > self._max + _ENVELOPE_BYTES:
            self._end(too_large(self._max))
        elif status == 200 and headers.get(b"content-type", b"").lower().startswith(b"text/event-stream"):
            self._events = EventParser(self._max + _ENVELOPE_BYTES, self._resumes)

    def data(self, chunk: bytes) -> None:
        if self.outcome.done():
            return
        self._size += len(chunk)
        if self._events is not None:
            self._stream(self._events, chunk)
        elif self._size > self._max + _ENVELOPE_BYTES:
            self._end(too_large(self._max))
        else:
            self._chunks.append(chunk)

    def finished(self) -> None:
        if self.outcome.done():
            return
        if self._events is not None:
            self._broken(self._events)
            return
        try:
            self.outcome.set_result(self._whole(b"".join(self._chunks)))
        except (NotMcpError, Unavailable) as failure:
            self._end(failure)

    def failed(self, failure: ExchangeError) -> None:
        if self.outcome.done():
            return
        if self._events is not None:
            self._broken(self._events)
        else:
            self._end(failure if not failure.answered else unavailable(failure.detail))

    # A whole body.

    def _whole(self, body: bytes) -> Outcome:
        """Raises NotMcpError, Unavailable."""
        status = self._status
        if status in (401, 403):
            challenge, nonce = self.headers.get(b"www-authenticate", b""), self.headers.get(b"dpop-nonce", b"")
            raise ChallengedError(status, clipped(challenge.decode("latin-1"), 2048), clipped(nonce.decode("latin-1")))
        if 300 <= status < 400:
            raise unavailable(f"redirects (HTTP {status}), which is never followed")
        if status == 404 and self._in_session and not self._has_no_such_method(body):
            return SessionGone()
        message = self._message(body)
        if self._in_session and not _is_id(message.id, self._id) and _means_no_session(status, message):
            return SessionGone()
        if not _is_id(message.id, self._id) and not (message.id is None and message.error and status < 500):
            raise NotMcpError("answers with the id of another request")
        if status != 200 and message.result:
            raise NotMcpError(f"sends a result with HTTP {status}")
        return self._capped(jsonrpc.answer_of(message, len(body)))

    def _has_no_such_method(self, body: bytes) -> bool:
        """Some servers say so with HTTP 404 too; whoever has lost the session cannot know the request."""
        with suppress(NotMcpError):
            message = jsonrpc.decode(body)
            error = jsonrpc.answer_of(message, 0).error if _is_id(message.id, self._id) else b""
            return bool(error) and jsonrpc.error_code(error) == METHOD_NOT_FOUND
        return False

    def _message(self, body: bytes) -> Message:
        try:
            message = jsonrpc.decode(body)
        except NotMcpError as failure:
            raise NotMcpError(f"HTTP {self._status}: {failure}") from failure
        if message.method is not None or not (message.result or message.error):
            raise NotMcpError(f"HTTP {self._status}: no JSON-RPC response")
        return message

    def _capped(self, raw: Raw) -> Raw:
        if len(raw.result) + len(raw.error) > self._max:
            raise too_large(self._max)
        return raw

    # A stream.

    def _stream(self, events: EventParser, chunk: bytes) -> None:
        try:
            for event in events.feed(chunk):
                if event.data and event.event == b"message":  # Without data it only primes resumption.
                    self._heard(jsonrpc.decode(event.data), len(event.data))
                if self.outcome.done():
                    return
            if self._size > (self._max + _ENVELOPE_BYTES) * _STREAM_FACTOR:
                raise too_large(self._max)
        except TooLongError:
            self._end(too_large(self._max))
        except (NotMcpError, Unavailable) as failure:
            self._end(failure)

    def _heard(self, message: Message, size_bytes: int) -> None:
        if message.method is not None and message.id is None:
            note = self._listener.heard(message)
            if note is not None:
                self._notify(note)
            elif message.method in _BESIDES and self._on_request is not None:
                self._on_request(message)
        elif message.method is not None:
            if self._on_request is not None:
                self._on_request(message)
            elif message.method in QUESTIONS:
                # There is no way to answer, and so it would never end.
                raise NotMcpError(f"asks {message.method} where nothing can be asked")
        elif _is_id(message.id, self._id):
            self.outcome.set_result(self._capped(jsonrpc.answer_of(message, size_bytes)))
            if self.connection is not None:
                self.connection.drain()
        else:
            raise NotMcpError("answers with the id of another request")

    def _broken(self, events: EventParser) -> None:
        if self._on_request is not None and events.last_id:
            self.outcome.set_result(StreamEnded(events.last_id, events.retry_ms))
        else:
            self._end(unavailable("the stream ended before the answer came"))

    def _end(self, failure: NotMcpError | Unavailable | ExchangeError) -> None:
        """The rest of the answer, if any, is of no use, and may be endless: close."""
        if self.outcome.done():
            return
        if isinstance(failure, NotMcpError):
            refused = 400 <= self._status < 500 and self._status not in (408, 429)
            failure = unintelligible(str(failure)) if refused else unavailable(str(failure))
        self.outcome.set_exception(failure)
        if self.connection is not None:
            self.connection.abandon()


def _is_id(received: float | str | None, sent: int) -> bool:
    """The same number; `"1"` and `true` are other ids than 1."""
    return type(received) is int and received == sent


def _length(headers: Headers) -> int:
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def _means_no_session(status: int, message: Message) -> bool:
    """Servers written after the official TypeScript examples say 400 where the specification says 404."""
    if status != 400 or not message.error:
        return False
    error = jsonrpc.answer_of(message, 0).error
    return jsonrpc.error_code(error) in (-32000, -32001, -32600) and "session" in jsonrpc.error_message(error).lower()


class Acknowledgement:
    """A `Receiver` for a message that gets no answer: only the status counts, the body is dropped."""

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.connection: Connection | None = None

    def head(self, status: int, headers: Headers) -> None:  # noqa: ARG002  the port's
        if not self.status.done():
            self.status.set_result(status)
        if self.connection is not None:
            self.connection.drain()

    def data(self, chunk: bytes) -> None:
        pass

    def finished(self) -> None:
        pass

    def failed(self, failure: ExchangeError) -> None:
        if not self.status.done():
            self.status.set_exception(unavailable(clipped(failure.detail)))
