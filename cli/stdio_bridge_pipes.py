"""Standard input and output, whatever they are: pipes and terminals on the loop, files and /dev/null at once."""

import asyncio
import os
import select
import sys
from types import TracebackType
from typing import Final

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_READ: Final = 64 * 1024


class Input:
    """Lines of standard input."""

    def __init__(self) -> None:
        self._reader: asyncio.StreamReader | None = None
        # Closed, its number may be another file's by now.
        self._fd = sys.stdin.fileno() if sys.stdin is not None else os.open(os.devnull, os.O_RDONLY)
        self._rest = b""

    async def __aenter__(self) -> "Input":
        if _may_wait(self._fd):
            reader = asyncio.StreamReader(limit=_READ)
            loop = asyncio.get_running_loop()
            pipe = os.fdopen(os.dup(self._fd), "rb")
            await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
            self._reader = reader
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reader is not None:
            # The terminal, or the program before us in a pipeline, has the same file open.
            os.set_blocking(self._fd, True)

    async def line(self) -> bytes | None:
        """The next that is not blank; None at the end. A longer one than MAX_LINE_BYTES comes as what is no JSON."""
        parts: list[bytes] = []
        size = 0
        while True:
            if not self._rest:
                self._rest = await self._more()
                if not self._rest:
                    return b"".join(parts).strip() or None
            piece, newline, self._rest = self._rest.partition(b"\n")
            size += len(piece)
            parts = [*parts, piece] if size <= MAX_LINE_BYTES else [b"too long"]
            if newline:
                line = b"".join(parts)
                if line.strip():
                    return line
                parts, size = [], 0

    async def _more(self) -> bytes:
        return await self._reader.read(_READ) if self._reader is not None else os.read(self._fd, _READ)


def _may_wait(descriptor: int) -> bool:
    """Whether it can be waited for: the kernel polls no file and no device, such as /dev/null, that is always ready.

    Asked here, since asyncio takes any device, and finds out only once it polls.
    """
    with select.epoll() as poll:
        try:
            poll.register(descriptor, select.EPOLLIN)
        except PermissionError:
            return False
        return True


class Output:
    """Lines to standard output, one whole line after the other."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None
        self._fd = sys.stdout.fileno()
        self._one = asyncio.Lock()
        self.gone = asyncio.Event()
        """Nobody reads any more."""

    async def __aenter__(self) -> "Output":
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await loop.connect_write_pipe(
                lambda: asyncio.streams.FlowControlMixin(loop=loop), os.fdopen(os.dup(self._fd), "wb")
            )
            self._writer = asyncio.StreamWriter(transport, protocol, None, loop)
        except ValueError:
            pass  # A file, or nowhere: writing never waits.
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _: object, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()
            os.set_blocking(self._fd, True)

    async def write(self, message: bytes) -> None:
        """Waits while the client does not read: whoever waits here reads no further either."""
        async with self._one:
            try:
                if self._writer is None:
                    os.write(self._fd, message + b"\n")
                else:
                    self._writer.write(message + b"\n")
                    await self._writer.drain()
            except OSError:
                self.gone.set()
