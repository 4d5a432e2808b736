"""A WebSocket as the streams an SDK client runs on: one JSON-RPC message per text frame."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, RejectConnection, Request, TextMessage

Headers = list[tuple[bytes, bytes]]


class WebSocketRefused(Exception):
    """The handshake was answered otherwise than by 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class WebSocket:
    """A client's connection. Pings are answered while somebody receives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._text = ""
        self.subprotocol: str | None = None

    @classmethod
    async def connect(cls, url: str, headers: Headers | None = None, subprotocols: tuple[str, ...] = ()) -> "WebSocket":
        """Raises WebSocketRefused."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        socket = cls(reader, writer)
        request = Request(parts.netloc, parts.path, extra_headers=headers or [], subprotocols=list(subprotocols))
        await socket._send(request)
        async for event in socket._events():
            if isinstance(event, AcceptConnection):
                socket.subprotocol = event.subprotocol
                return socket
            if isinstance(event, RejectConnection):
                writer.close()
                raise WebSocketRefused(event.status_code)
        writer.close()
        raise WebSocketRefused(0)

    async def send(self, text: str) -> None:
        await self._send(TextMessage(text))

    async def receive(self) -> str | None:
        """The next message; None once the server closed the connection."""
        async for event in self._events():
            if isinstance(event, TextMessage):
                self._text += event.data
                if event.message_finished:
                    whole, self._text = self._text, ""
                    return whole
            elif isinstance(event, Ping):
                await self._send(event.response())
            elif isinstance(event, CloseConnection):
                return None
        return None

    async def close(self, code: int = 1000) -> None:
        with contextlib.suppress(Exception):
            await self._send(CloseConnection(code))
        self._writer.close()

    async def _send(self, event: Any) -> None:
        self._writer.write(self._protocol.send(event))
        await self._writer.drain()

    async def _events(self) -> AsyncIterator[Any]:
        while True:
            for event in self._protocol.events():
                yield event
            data = await self._reader.read(1 << 16)
            if not data:
                return
            self._protocol.receive_data(data)


@asynccontextmanager
async def websocket_client(url: str, headers: Headers | None = None) -> AsyncIterator[tuple[Any, Any]]:
    """What `mcp.client.Client` takes as its transport."""
    socket = await WebSocket.connect(url, headers, ("mcp",))
    incoming, read = anyio.create_memory_object_stream[Any](0)
    write, outgoing = anyio.create_memory_object_stream[SessionMessage](0)

    async def receive() -> None:
        async with incoming:
            with contextlib.suppress(anyio.BrokenResourceError):
                while (frame := await socket.receive()) is not None:
                    await incoming.send(SessionMessage(jsonrpc_message_adapter.validate_json(frame, by_name=False)))

    async def send() -> None:
        async with outgoing:
            async for message in outgoing:
                await socket.send(message.message.model_dump_json(by_alias=True, exclude_unset=True))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        tasks.start_soon(send)
        try:
            yield read, write
        finally:
            tasks.cancel_scope.cancel()
            await socket.close()
