"""Waiting together for one piece of work."""

import asyncio
from typing import TypeVar

from data_plane.upstreams.failure import unavailable

T = TypeVar("T")


async def shared(work: "asyncio.Task[T]") -> T:
    """Its result. A caller that goes away does not take it from the others; work that is called off is Unavailable."""
    if work.done() and not work.cancelled():
        return work.result()
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        me = asyncio.current_task()
        if work.cancelled() and (me is None or not me.cancelling()):
            raise unavailable("the server was removed or its settings changed while the call waited") from None
        raise
