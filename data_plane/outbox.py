"""Writes gathered while the loop works through what is ready, and made one after the other behind it.

A write on its own wakes its reader, which on an otherwise idle core costs the writer more than all the rest of it; by
the second write in a row the reader is up. That was 28 of 136 us a call at saturation; a lone call loses nothing.
"""

import asyncio
from collections.abc import Callable

MOST = 64
"""Writes kept back at once; with them the longest that the first of them waits: some milliseconds of work."""
LARGE_BYTES = 64 * 1024
"""Longer writes are not worth the memory of keeping them."""

Write = Callable[[bytes], object]


class Outbox:
    """Of one event loop. Writes are made in the order they came in."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[Write, bytes]] = []

    def add(self, write: Write, data: bytes) -> None:
        """Calls `write(data)` before the loop waits for anything; `write` finds out itself if it still can."""
        waiting = self._waiting
        waiting.append((write, data))
        if len(waiting) >= MOST or len(data) > LARGE_BYTES:
            self.flush()
        elif len(waiting) == 1:
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Makes all writes now: to be called before a connection is closed whose last answer may be among them."""
        waiting, self._waiting = self._waiting, []
        for write, data in waiting:
            write(data)
