"""Whether a client that closed its sending side still reads: some do, once they have said all they have to say.

TCP tells it from one that closed all of its connection only when something is sent: then the other end resets. So an
interim response is, which HTTP/1.1 lets come at any time before the answer (RFC 9110, section 15.2).
"""

import asyncio
from collections.abc import Callable
from socket import SO_ERROR, SOL_SOCKET
from typing import Final

INTERIM: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LOOKS_S: Final = (0.005, 0.02, 0.1, 0.5, 1.0)
"""Pauses between looks for the reset; the last one again and again."""


def watch(transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, waiting: Callable[[], bool]) -> None:
    """Aborts the connection once it is known that nobody reads. `waiting`: an answer is still under way."""
    transport.write(INTERIM)
    _later(transport, loop, waiting, 0)


def _later(
    transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, waiting: Callable[[], bool], looked: int
) -> None:
    def look() -> None:
        if transport.is_closing() or not waiting():
            return
        if transport.get_extra_info("socket").getsockopt(SOL_SOCKET, SO_ERROR):
            transport.abort()
        else:
            _later(transport, loop, waiting, looked + 1)

    loop.call_later(LOOKS_S[min(looked, len(LOOKS_S) - 1)], look)
