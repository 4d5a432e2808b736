"""Kept connections to an OPA beside this process: HTTP/1.1 over a Unix socket or loopback, nothing waited for long."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, cast

import httptools

from core.bound import Bound
from core.sidecar import Place

ANSWER_BYTES = 4 * 1024 * 1024
IDLE_S = 30.0
LINES_MAX = 64
"""To one OPA at once; who comes next waits, within its own deadline."""


class Silent(Exception):
    """No whole answer came; the message is for the record."""


class Answer(NamedTuple):
    status: int
    body: bytes


class Lines:
    """Connections to one OPA, used from one event loop."""

    def __init__(self, place: Place, *, most: int = LINES_MAX) -> None:
        self._place = place
        self._most = most
        self._free = asyncio.Semaphore(most)
        self._idle: list[_Line] = []
        self._busy = self._waited = 0

    @property
    def bound(self) -> Bound:
        return Bound(self._busy, self._most, self._waited)

    async def ask(self, path: str, body: bytes, timeout_s: float) -> Answer:
        """POST, and the whole answer. Raises Silent."""
        head = f"POST {path} HTTP/1.1\r\nHost: opa\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        request = b"%b\r\n\r\n%b" % (head.encode(), body)
        self._waited += self._free.locked()
        try:
            async with asyncio.timeout(timeout_s), self._free:
                return await self._answered(request)
        except TimeoutError as late:
            raise Silent(f"no answer within {timeout_s:g} s") from late
        except OSError as failure:
            raise Silent(failure.strerror or type(failure).__name__) from failure

    async def _answered(self, request: bytes) -> Answer:
        self._busy += 1
        try:
            while (line := self._kept()) is not None:
                with suppress(_HungUp):  # While nobody looked: a decision may be asked for twice.
                    return await self._through(line, request)
            try:
                return await self._through(await self._opened(), request)
            except _HungUp as gone:
                raise Silent("it hung up") from gone
        finally:
            self._busy -= 1

    async def _through(self, line: "_Line", request: bytes) -> Answer:
        try:
            answer = await line.ask(request)
        except BaseException:
            line.close()
            raise
        if line.usable:
            line.rest(IDLE_S)
            self._idle.append(line)
        else:
            line.close()
        return answer

    def _kept(self) -> "_Line | None":
        while self._idle:
            line = self._idle.pop()
            if line.usable:
                return line
        return None

    async def _opened(self) -> "_Line":
        loop = asyncio.get_running_loop()
        make: Callable[[], _Line] = _Line
        if self._place.path:
            return (await loop.create_unix_connection(make, self._place.path))[1]
        return (await loop.create_connection(make, self._place.host, self._place.port))[1]

    def close(self) -> None:
        """Those that carry a question end with it."""
        while self._idle:
            self._idle.pop().close()


class _HungUp(Exception):
    """Before it had answered anything."""


class _Line(asyncio.Protocol):
    """One connection, one question at a time."""

    def __init__(self) -> None:
        self.usable = True
        self._ends: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._body = bytearray()
        self._began = False

    def ask(self, request: bytes) -> "asyncio.Future[Answer]":
        """The future's exception: _HungUp, Silent."""
        if self._ends is not None:
            self._ends.cancel()
        self._answer = self._loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body.clear()
        self._began = False
        if self._transport is None or self._transport.is_closing():
            self._answer.set_exception(_HungUp())
        else:
            self._transport.write(request)
        return self._answer

    def rest(self, most_s: float) -> None:
        """It is closed unless it is asked again within that."""
        self._ends = self._loop.call_later(most_s, self.close)

    def close(self) -> None:
        self.usable = False
        if self._ends is not None:
            self._ends.cancel()
        if self._transport is not None:
            self._transport.abort()

    # === asyncio.Protocol ===

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by descent.

    def data_received(self, data: bytes) -> None:
        self._began = True
        if self._parser is None or self._answer is None or self._answer.done():
            self.close()  # Nobody asked.
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("it answered something that is no HTTP")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        self.usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Silent("it hung up") if self._began else _HungUp())

    # === httptools ===

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > ANSWER_BYTES:
            self._fail(f"the answer is larger than {ANSWER_BYTES} bytes")

    def on_message_complete(self) -> None:
        assert self._parser is not None
        assert self._answer is not None
        self.usable = self.usable and self._parser.should_keep_alive()
        if not self._answer.done():
            self._answer.set_result(Answer(self._parser.get_status_code(), bytes(self._body)))

    def _fail(self, why: str) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Silent(why))
