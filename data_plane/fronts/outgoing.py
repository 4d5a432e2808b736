"""What a connection's client is yet to be sent: answers wait for room, what nobody waits for has a cap."""

import asyncio

from data_plane.fronts.exchange import MAX_QUEUED_BYTES


class Outgoing:
    """Of one connection."""

    def __init__(self) -> None:
        self.queued_bytes = 0
        """Those on their way included."""
        self._loop = asyncio.get_running_loop()
        self._queue: list[bytes] = []
        self._unasked_bytes = 0
        self._wake: asyncio.Future[bool] | None = None
        self._room = asyncio.Event()
        self._room.set()

    def __bool__(self) -> bool:
        """Whether there is something to send."""
        return bool(self._queue)

    @property
    def has_room(self) -> bool:
        return self.queued_bytes <= MAX_QUEUED_BYTES

    async def room(self) -> None:
        """Until an answer may be added."""
        while not self.has_room:  # All who wait wake at once, and there is room for one.
            await self._room.wait()

    def add(self, message: bytes) -> None:
        self._queue.append(message)
        self.queued_bytes += len(message)
        if not self.has_room:
            self._room.clear()
        self.rouse()

    def add_unasked(self, message: bytes) -> bool:
        """What nobody waits for before it is sent; False, and not added, where too much of that is unread."""
        if self._unasked_bytes > MAX_QUEUED_BYTES:
            return False
        self._unasked_bytes += len(message)
        self.add(message)
        return True

    def take(self) -> list[bytes]:
        """All there is, to be sent, and then `sent`."""
        messages, self._queue = self._queue, []
        return messages

    def sent(self) -> None:
        self.queued_bytes = sum(map(len, self._queue))
        self._unasked_bytes = min(self._unasked_bytes, self.queued_bytes)
        if self.has_room:
            self._room.set()

    def rouse(self, happened: bool = True) -> None:
        """Wakes whoever waits in `woken`."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(happened)

    async def woken(self, within_s: float) -> bool:
        """Until there is something to do; False where there was nothing for so long."""
        wake: asyncio.Future[bool] = self._loop.create_future()
        self._wake = wake
        timer = self._loop.call_later(within_s, self.rouse, False)
        try:
            return await wake
        finally:
            timer.cancel()
