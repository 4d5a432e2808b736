"""The bridge's HTTP/1.1 client: answers are read as fast as they are wanted, and no faster."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import SplitResult

CONNECT_S: Final = 10.0
IDLE_S: Final = 30.0
"""Connections unused for longer are not used again: the other side may be closing them."""
MAX_IDLE: Final = 8
MAX_HEAD_BYTES: Final = 64 * 1024
_CHUNK: Final = 64 * 1024


class Away(Exception):
    """The gateway cannot be reached, or broke off. The text says how."""


class Answer:
    """A response whose head is here. Its body may be read once."""

    def __init__(self, status: int, headers: Mapping[str, str], reader: asyncio.StreamReader) -> None:
        self.status = status
        self.headers = headers
        self._reader = reader
        self.whole = False
        """The body was read to its end, and the connection can carry another request."""

    @property
    def media(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def body(self, cap: int) -> bytes:
        """All of it. Raises Away, also beyond `cap`."""
        parts: list[bytes] = []
        async for part in self.chunks():
            parts.append(part)
            if sum(map(len, parts)) > cap:
                raise Away(f"its answer is longer than {cap} bytes")
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Pieces as they come. Raises Away where the body breaks off."""
        try:
            if "chunked" in self.headers.get("transfer-encoding", "").lower():
                async for part in self._chunked():
                    yield part
            elif "content-length" in self.headers:
                async for part in self._counted(int(self.headers["content-length"])):
                    yield part
            elif self.status not in (204, 304):
                while part := await self._reader.read(_CHUNK):
                    yield part
                return
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as failure:
            raise Away(f"its answer broke off: {failure}") from failure
        self.whole = True

    async def _counted(self, left: int) -> AsyncIterator[bytes]:
        while left:
            part = await self._reader.read(min(left, _CHUNK))
            if not part:
                raise ConnectionResetError("closed too early")
            left -= len(part)
            yield part

    async def _chunked(self) -> AsyncIterator[bytes]:
        while True:
            size = int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16)
            if not size:
                while await self._reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                return
            async for part in self._counted(size):
                yield part
            await self._reader.readexactly(2)


class Http:
    """One gateway. Idle connections are kept; each answer that is not read to its end closes its own."""

    def __init__(self, url: SplitResult, tls: ssl.SSLContext | None) -> None:
        self._host = str(url.hostname)
        self._port = url.port or (443 if tls else 80)
        self._tls = tls
        netloc = url.netloc.rpartition("@")[2]
        self._target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._fixed = f"Host: {netloc}\r\n"
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    @asynccontextmanager
    async def exchange(self, method: str, headers: Mapping[str, str], body: bytes = b"") -> AsyncIterator[Answer]:
        """An answer's head within the block. Leaving it early closes the connection, which cancels what runs there.

        Raises Away.
        """
        reader, writer = await self._connected()
        answer: Answer | None = None
        try:
            answer = await self._asked(reader, writer, method, headers, body)
            yield answer
        finally:
            reusable = answer is not None and answer.whole and answer.headers.get("connection", "").lower() != "close"
            if reusable and len(self._idle) < MAX_IDLE:
                self._idle.append((asyncio.get_running_loop().time(), reader, writer))
            else:
                writer.transport.abort()

    def close(self) -> None:
        for _, _, writer in self._idle:
            writer.transport.abort()
        self._idle.clear()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, reader, writer = self._idle.pop()
            if now - since < IDLE_S and not reader.at_eof() and not writer.transport.is_closing():
                return reader, writer
            writer.transport.abort()
        try:
            async with asyncio.timeout(CONNECT_S):
                return await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=MAX_HEAD_BYTES)
        except TimeoutError as late:
            raise Away(f"no connection within {CONNECT_S:.0f} s") from late
        except OSError as failure:
            raise Away(str(failure)) from failure

    async def _asked(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        method: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
        try:
            head = f"{method} {self._target} HTTP/1.1\r\n{self._fixed}{lines}{length}\r\n"
            writer.write(head.encode("latin-1") + body)
            await writer.drain()
            while True:
                status, found = _head(await reader.readuntil(b"\r\n\r\n"))
                if status >= 200:
                    return Answer(status, found, reader)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as failure:
            why = "closed the connection" if isinstance(failure, asyncio.IncompleteReadError) else str(failure)
            raise Away(why) from failure


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers by lower-case name. Raises ValueError for what is no HTTP."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = [*first.split(" ", 2), ""]
    if not version.startswith("HTTP/1."):
        raise ValueError("answers what is not HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return int(status), headers


def trusting(ca_file: str) -> ssl.SSLContext:
    """Verifies the gateway's certificate. Raises OSError for a file that cannot be used."""
    return ssl.create_default_context(cafile=ca_file or None)
