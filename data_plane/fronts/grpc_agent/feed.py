"""Messages on their way to a client that may be slow: never waits to take one, and takes only so much."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, TypeVar

from toolgate.v1 import agent_pb2 as pb

MAX_BYTES: Final = 1024 * 1024
_OVERHEAD: Final = 64
"""Of a queued message, besides its bytes: many small ones are not free."""

Event = TypeVar("Event", pb.CallStreamResponse, pb.ListenResponse)


class Feed(Generic[Event]):
    """One stream's. Iterate it once; it ends behind what was put before `close`."""

    def __init__(self, on_full: Callable[[], None]) -> None:
        """`on_full`: the client leaves too much unread; called once, and nothing more is taken."""
        self._on_full = on_full
        self._queue: deque[Event] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._closed = self._full = False

    @property
    def queued_bytes(self) -> int:
        return self._bytes

    def put(self, message: Event) -> None:
        if self._closed or self._full:
            return
        size = message.ByteSize() + _OVERHEAD
        if self._bytes + size > MAX_BYTES:
            self._full = True
            self._on_full()
            return
        self._queue.append(message)
        self._bytes += size
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._queue:
                message = self._queue.popleft()
                yield message
                self._bytes -= message.ByteSize() + _OVERHEAD
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()
