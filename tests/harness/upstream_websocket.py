"""A WebSocket server that does exactly what a test scripts: for upstreams that are broken or hostile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any

import msgspec
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, Pong, Request, TextMessage


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.wire = WSConnection(ConnectionType.SERVER)
        self.request: Request | None = None
        self.pongs = 0
        self.closed_with: int | None = None
        self._events: list[Event] = []

    async def event(self) -> Event:
        """The next one. Raises ConnectionError at the end."""
        while not self._events:
            data = await self.reader.read(65536)
            self.wire.receive_data(data or None)
            self._events.extend(self.wire.events())
            if not data and not self._events:
                raise ConnectionError
        return self._events.pop(0)

    async def message(self) -> Any:
        """The next JSON-RPC message. Raises ConnectionError when the client closes."""
        while True:
            event = await self.event()
            if isinstance(event, TextMessage):
                return msgspec.json.decode(event.data)
            if isinstance(event, Pong):
                self.pongs += 1
            if isinstance(event, Ping):
                await self.send(event.response())
            if isinstance(event, CloseConnection):
                self.closed_with = event.code
                raise ConnectionError

    async def accept(self) -> None:
        event = await self.event()
        assert isinstance(event, Request)
        self.request = event
        await self.send(AcceptConnection(subprotocol=event.subprotocols[0] if event.subprotocols else None))

    async def send(self, event: Event) -> None:
        await self.raw(self.wire.send(event))

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def say(self, **message: object) -> None:
        await self.send(TextMessage(msgspec.json.encode({"jsonrpc": "2.0", **message}).decode()))

    async def handshake(self) -> Any:
        """Accepts and initializes as a legacy server; the initialize request."""
        await self.accept()
        request = await self.message()
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "raw", "version": "1"}}
        await self.say(id=request["id"], result=result)
        await self.message()
        return request

    async def answer(self, request: Any, text: str = "ok") -> None:
        await self.say(id=request["id"], result={"content": [{"type": "text", "text": text}]})


Script = Callable[[Peer], Awaitable[None]]


class RawWebSocket:
    def __init__(self, url: str) -> None:
        self.url = url
        self.peers: list[Peer] = []


@asynccontextmanager
async def scripted(script: Script, *, ssl: SSLContext | None = None) -> AsyncIterator[RawWebSocket]:
    """Runs the script for every connection, then closes it."""
    tasks: set[asyncio.Task[None]] = set()
    running = RawWebSocket("")

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(reader, writer)
        running.peers.append(peer)
        try:
            await script(peer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=ssl)
    scheme, host = ("wss", "localhost") if ssl else ("ws", "127.0.0.1")
    running.url = f"{scheme}://{host}:{listening.sockets[0].getsockname()[1]}/ws?a=b"
    try:
        yield running
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
