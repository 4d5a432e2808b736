"""An HTTP server that does exactly what a test scripts, down to the byte: for upstreams that are broken or hostile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec


class Request(NamedTuple):
    """One request as it came in; header names are lower-case."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """Number of the connection it came on, from 1."""

    @property
    def message(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object]) if self.body else {}

    @property
    def id(self) -> object:
        return self.message.get("id")


class Peer:
    """The server's end of one exchange: write what you like, then close, or return to read the next request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def json(
        self, body: bytes, *, status: str = "200 OK", headers: str = "", kind: str = "application/json"
    ) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        await self.send(head.encode() + body)

    async def start_stream(self) -> None:
        await self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        await self.send(b"0\r\n\r\n")

    def close(self) -> None:
        self.writer.close()

    async def until_gone(self) -> None:
        """Until the client closes the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            return


Script = Callable[[Request, Peer], Awaitable[None]]


class RawServer:
    """Runs the script for every request; what came in is kept in `requests`."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[Request] = []
        self.connections = 0
        self.open_connections = 0
        self.url = ""
        self.port = 0

    def messages(self, method: str) -> list[Request]:
        return [r for r in self.requests if r.message.get("method") == method]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        number = self.connections
        try:
            while not writer.is_closing():
                request = await _read(reader, number)
                self.requests.append(request)
                await self._script(request, Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open_connections -= 1
            writer.close()


async def _read(reader: asyncio.StreamReader, number: int) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    verb, path, _ = head[0].split(" ", 2)
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(verb, path, headers, body, number)


@asynccontextmanager
async def scripted(script: Script, *, ssl: object = None) -> AsyncIterator[RawServer]:
    server = RawServer(script)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await server.serve(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            tasks.discard(task)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=ssl, limit=1 << 20)  # type: ignore[arg-type]
    server.port = listening.sockets[0].getsockname()[1]
    server.url = f"http{'s' if ssl else ''}://127.0.0.1:{server.port}/mcp"
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def result(request: Request, text: str = "ok") -> bytes:
    content = [{"type": "text", "text": text}]
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "result": {"content": content}})


def event(data: bytes, *, event_id: str = "", end: bytes = b"\n") -> bytes:
    lines = [b"id: " + event_id.encode()] if event_id else []
    return end.join([*lines, b"event: message", b"data: " + data, b"", b""])
