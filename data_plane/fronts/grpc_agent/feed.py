"""Messages on their way to a client that may be slow: never waits to take one, and takes only so much."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from toolgate.v1 import agent_pb2 as pb

MAX_BYTES: Final = 1024 * 1024
SLOW_S: Final = 30.0
_OVERHEAD: Final = 64
"""Of a queued message, besides its bytes: many small ones are not free."""

Event = TypeVar("Event", pb.CallStreamResponse, pb.ListenResponse)


class Feed(Generic[Event]):
    """One stream's."""

    def __init__(self, on_full: Callable[[], None]) -> None:
        """`on_full`: the client leaves too much unread; called once. What waits is dropped, nothing more is taken."""
        self._on_full = on_full
        self._queue: deque[Event] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._closed = False
        self._patience: asyncio.Timeout | None = None
        self.full = False

    @property
    def queued_bytes(self) -> int:
        return self._bytes

    def put(self, message: Event) -> None:
        if self._closed:
            return
        size = message.ByteSize() + _OVERHEAD
        if self._bytes + size > MAX_BYTES:
            self._overflow()
            return
        self._queue.append(message)
        self._bytes += size
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def drain(self, write: Callable[[Event], Awaitable[None]]) -> None:
        """Sends what is put until all before `close` is sent. Once it is full, a write has SLOW_S to end."""
        try:
            async with asyncio.timeout(None) as self._patience:
                while self._queue or not self._closed:
                    if self._queue:
                        message = self._queue.popleft()
                        await write(message)
                        self._bytes = max(0, self._bytes - message.ByteSize() - _OVERHEAD)
                    else:
                        self._wake.clear()
                        await self._wake.wait()
        except TimeoutError:
            return

    def _overflow(self) -> None:
        self.full = True
        self._queue.clear()
        self._bytes = 0
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + SLOW_S)
        self.close()
        self._on_full()
