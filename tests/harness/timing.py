"""Deadlines measured so that a busy machine, which holds up everything alike, does not count against the code."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Timer:
    """A plain timer of the event loop, set when the block began; see `beside`."""

    behind_s = 0.0
    """How much later than the timer the block ended; negative: that much before."""


@asynccontextmanager
async def beside(deadline_s: float) -> AsyncIterator[Timer]:
    """Run the block beside a plain timer of `deadline_s`, and compare when they end."""
    loop = asyncio.get_running_loop()
    rang: asyncio.Future[float] = loop.create_future()
    handle = loop.call_later(deadline_s, lambda: rang.set_result(loop.time()))
    timer = Timer()
    try:
        yield timer
        timer.behind_s = loop.time() - (rang.result() if rang.done() else handle.when())
    finally:
        handle.cancel()
