"""Commands for Redis (or Valkey) in the order they were given, as many at once as wait, over one connection."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.bound import Bound
from core.bus import BusAway

TIMEOUT_S = 0.5
"""Longest a batch may take, connecting included."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
"""After a failure nobody asks Redis for so long; doubled each time up to the longest."""
BATCH = 512
BATCH_BYTES = 4 * 1024 * 1024
WAITING = 10_000
WAITING_BYTES = 64 * 1024 * 1024
CONNECTIONS = 2
"""One for commands, one that listens."""

Word = bytes | str | int


class _Command(NamedTuple):
    words: tuple[Word, ...]
    size_bytes: int
    answer: "asyncio.Future[object]"


class Commands:
    """Belongs to one loop. Connects when first used, and again by itself."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S, clock: Callable[[], float] = monotonic) -> None:
        """`url`: redis://, rediss:// or unix://. Raises ValueError for another."""
        self._redis = Redis.from_pool(
            ConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                # Times are kept here: with one of its own the driver may lose a cancellation while it writes.
                socket_timeout=None,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
            )
        )
        self.timeout_s = timeout_s
        self.outages = 0
        self._refused = 0
        self._clock = clock
        self._queue: deque[_Command] = deque()
        self._bytes = 0
        self._sending: asyncio.Task[None] | None = None
        self._pause_s = 0.0
        self._quiet_until_s = 0.0

    @property
    def database(self) -> int:
        """Keys are a database's own; channels are all databases', unless their names say which."""
        return int(self._redis.connection_pool.connection_kwargs.get("db") or 0)

    def listener(self) -> PubSub:
        """A connection of its own, that subscribes."""
        return self._redis.pubsub()

    def bounds(self) -> dict[str, Bound]:
        return {
            "redis_commands": Bound(len(self._queue), WAITING, self._refused),
            "redis_command_bytes": Bound(self._bytes, WAITING_BYTES, self._refused),
        }

    async def ask(self, *words: Word) -> object:
        """What Redis answers. Queued at once, and so in the order of these calls. Raises BusAway."""
        if self._clock() < self._quiet_until_s:
            raise BusAway("Redis did not answer a moment ago")
        size = sum(len(word) for word in words if not isinstance(word, int))
        if len(self._queue) >= WAITING or self._bytes + size > WAITING_BYTES:
            self._refused += 1
            raise BusAway("more waits for Redis than may")
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._queue.append(_Command(words, size, answer))
        self._bytes += size
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())
        return await answer

    async def aclose(self) -> None:
        """What waits fails."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})
        # Cancelled before it began, the sender had no say.
        self._fail(self._batch(everything=True), "Redis is not used any more")
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _send(self) -> None:
        try:
            while self._queue:
                batch = self._batch()
                try:
                    await self._exchange(batch)
                except (RedisError, OSError, TimeoutError) as failure:
                    self._pause()
                    self._fail(batch, f"Redis: {type(failure).__name__}")
                    self._fail(self._batch(everything=True), "Redis did not answer")
                finally:
                    # Where it is none of Redis's failures, nobody must wait for ever all the same.
                    self._fail(batch, "Redis was not asked")
        finally:
            self._sending = None
            self._fail(self._batch(everything=True), "Redis is not used any more")

    def _batch(self, *, everything: bool = False) -> list[_Command]:
        batch: list[_Command] = []
        size = 0
        while self._queue and (everything or not batch or (len(batch) < BATCH and size < BATCH_BYTES)):
            command = self._queue.popleft()
            self._bytes -= command.size_bytes
            size += command.size_bytes
            if not command.answer.done():  # Else the caller went away before it was sent.
                batch.append(command)
        return batch

    async def _exchange(self, batch: list[_Command]) -> None:
        if not batch:
            return
        async with asyncio.timeout(self.timeout_s), self._redis.pipeline(transaction=False) as pipeline:
            for command in batch:
                pipeline.execute_command(*command.words)
            answers = await pipeline.execute(raise_on_error=False)
        self._pause_s = 0.0
        for command, answer in zip(batch, answers, strict=True):
            if command.answer.done():
                continue
            if isinstance(answer, Exception):
                command.answer.set_exception(BusAway(f"Redis: {answer}"))
            else:
                command.answer.set_result(answer)

    def _fail(self, batch: list[_Command], why: str) -> None:
        for command in batch:
            if not command.answer.done():
                command.answer.set_exception(BusAway(why))

    def _pause(self) -> None:
        if not self._pause_s:
            self.outages += 1
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2 or FIRST_PAUSE_S)
        self._quiet_until_s = self._clock() + self._pause_s
