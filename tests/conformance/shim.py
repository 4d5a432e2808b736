"""A loopback proxy that adds a header to every request, and takes the next of several ports for each.

The suite can neither authenticate nor know of several nodes. `Host` stays as the suite sent it. One request a
connection: so the next request goes to the next node, whatever the client keeps open.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle

HEAD_BYTES = 64 * 1024
OF_CONNECTION = (b"connection:", b"keep-alive:")


class Shim:
    """Requests to `ports` in turn, each with `headers` on top of its own."""

    def __init__(self, ports: Sequence[int], headers: dict[str, str]) -> None:
        self._ports = cycle(ports)
        self._added = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            upstream = await asyncio.open_connection("127.0.0.1", next(self._ports))
            self._open.add(upstream[1])
            upstream[1].write(self.rewritten(head))
            await self._relay((reader, writer), upstream)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # Either side may leave at any time; the other sees its connection close.
        finally:
            self._close(writer)

    def rewritten(self, head: bytes) -> bytes:
        """The request's head with what is added to it, asking that the connection be closed after the answer."""
        line, _, rest = head.partition(b"\r\n")
        kept = [
            one for one in rest.split(b"\r\n") if one and not one.lower().startswith((b"connection:", b"keep-alive:"))
        ]
        return b"\r\n".join([line, *kept, b"Connection: close", self._added + b"\r\n"])

    async def _relay(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Until either side closes: a client that leaves must be seen to leave."""
        ways = [
            asyncio.ensure_future(copied(client[0], upstream[1])),
            asyncio.ensure_future(copied(upstream[0], client[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._close(upstream[1])

    def _close(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.close()

    def close(self) -> None:
        for writer in list(self._open):
            self._close(writer)


async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def shimmed(ports: Sequence[int], headers: dict[str, str]) -> AsyncIterator[int]:
    """The port of a running shim."""
    shim = Shim(ports, headers)
    server = await asyncio.start_server(shim.serve, "127.0.0.1", 0, limit=HEAD_BYTES)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        shim.close()
        await server.wait_closed()
