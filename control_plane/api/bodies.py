"""Bodies of REST requests: each within a size and a time, all together within a number of bytes."""

import asyncio
from collections.abc import AsyncIterator

from core.admin import Rejected, Why
from core.bound import Bound

MAX_BODY_BYTES = 4 * 1024 * 1024
DRAIN_BYTES = 8 * MAX_BODY_BYTES
ALL_BODIES_BYTES = 64 * 1024 * 1024
WITHIN_S = 60.0


class TooLarge(Exception):
    """The body passes MAX_BODY_BYTES."""


class TooSlow(Exception):
    """The body did not come within its time."""


class Bodies:
    """What is being read now. Nobody has proven who they are yet, so all share one budget."""

    def __init__(self, *, all_bytes: int = ALL_BODIES_BYTES, within_s: float = WITHIN_S) -> None:
        self._most = all_bytes
        self._within_s = within_s
        self._held = 0
        self._refused = 0

    @property
    def bound(self) -> Bound:
        return Bound(self._held, self._most, self._refused)

    async def read(self, chunks: AsyncIterator[bytes]) -> bytes:
        """The whole body. Raises TooSlow, Rejected (UNAVAILABLE: too many at once), and TooLarge.

        The last one having read past the cap for a while: a client that is still sending hears no answer.
        """
        try:
            async with asyncio.timeout(self._within_s):
                return await self._read(chunks)
        except TimeoutError as late:
            raise TooSlow from late

    async def _read(self, chunks: AsyncIterator[bytes]) -> bytes:
        body = bytearray()
        size = 0
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > DRAIN_BYTES:
                    break
                if size <= MAX_BODY_BYTES:
                    self._keep(body, chunk)
        finally:
            self._held -= len(body)
        if size > MAX_BODY_BYTES:
            raise TooLarge
        return bytes(body)

    def _keep(self, body: bytearray, chunk: bytes) -> None:
        if self._held + len(chunk) > self._most:
            self._refused += 1
            raise Rejected(Why.UNAVAILABLE, "too many large requests are being read: try again")
        self._held += len(chunk)
        body += chunk
