"""A listener for tests of what is shared."""

import asyncio

WITHIN_S = 5.0


class Inbox:
    """A subscriber that keeps what it hears."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self._news = asyncio.Event()

    def __call__(self, message: bytes) -> None:
        self.messages.append(message)
        self._news.set()

    async def has(self, count: int) -> list[bytes]:
        async with asyncio.timeout(WITHIN_S):
            while len(self.messages) < count:
                self._news.clear()
                await self._news.wait()
        return self.messages
