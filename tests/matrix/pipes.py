"""The transports a client may come over: Streamable HTTP, JSON-RPC for scripts, HTTP+SSE, WebSocket, stdio."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urljoin

import httpx2

from tests.conformance.websocket import WebSocket
from tests.matrix.front import Json, Lost

BOTH = "application/json, text/event-stream"


async def events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, str, str]]:
    """(event, data, id) of a server-sent event stream."""
    event, data, last = "message", list[str](), ""
    async for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if any(data):  # A priming event has an id and nothing to say.
                yield event, "\n".join(data), last
            event, data = "message", []
        elif name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            last = value


class Base:
    """What all of them have: whom to tell of what comes."""

    deliver: Callable[[Json], None]
    lose: Callable[[object, str], None]

    def __init__(self) -> None:
        self._tasks: dict[object, asyncio.Task[None]] = {}
        self._sent: set[object] = set()
        self._closed = ""

    def _sending(self, message: Json | list[Json]) -> None:
        """Notes the requests in it: where the connection is or comes to be closed, they are lost."""
        for one in message if isinstance(message, list) else [message]:
            if "method" in one and "id" in one:
                self._sent.add(one["id"])
        if self._closed:
            self._end(self._closed)

    def _end(self, why: str) -> None:
        self._closed = why
        for number in self._sent:
            self.lose(number, why)
        self._sent.clear()

    async def abandon(self, request_id: object) -> bool:
        return False

    async def greeted(self) -> None:
        pass

    def _come(self, text: str) -> None:
        decoded = json.loads(text)
        for message in decoded if isinstance(decoded, list) else [decoded]:
            self.deliver(message)

    async def _stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Http(Base):
    """Streamable HTTP of any revision that has it."""

    def __init__(self, url: str, headers: Mapping[str, str], *, modern: bool) -> None:
        super().__init__()
        self._url = url
        self._modern = modern
        timeout = httpx2.Timeout(20, read=None)
        self._client = httpx2.AsyncClient(headers=dict(headers), timeout=timeout, trust_env=False)
        self._session: dict[str, str] = {}
        self._version: dict[str, str] = {}

    async def open(self) -> None:
        pass

    async def send(self, message: Json | list[Json], headers: dict[str, str]) -> None:
        version = headers.get("MCP-Protocol-Version")
        self._version = {"MCP-Protocol-Version": version} if version else self._version
        several = message if isinstance(message, list) else [message]
        numbers = [one["id"] for one in several if "method" in one and "id" in one]
        posting = asyncio.ensure_future(self._post(message, headers, numbers))
        if numbers:
            self._tasks[numbers[0]] = posting
        else:
            await posting

    async def greeted(self) -> None:
        """The stream for what belongs to no request, where the server has one."""
        answered = asyncio.Event()
        self._tasks["GET"] = asyncio.ensure_future(self._get(answered))
        async with asyncio.timeout(10):
            await answered.wait()

    async def abandon(self, request_id: object) -> bool:
        if not self._modern:
            return False
        self._tasks.pop(request_id).cancel()
        return True

    async def close(self) -> None:
        await self._stop()
        if self._session:
            with contextlib.suppress(httpx2.HTTPError):
                await self._client.delete(self._url, headers=self._session | self._version)
        await self._client.aclose()

    async def _post(self, message: Json | list[Json], headers: dict[str, str], numbers: list[Any]) -> None:
        sent = {"Accept": BOTH, "Content-Type": "application/json", **self._session, **headers}
        try:
            async with self._client.stream("POST", self._url, json=message, headers=sent) as answer:
                await self._read(answer, numbers)
        except (httpx2.HTTPError, ValueError) as failure:
            self._lost(numbers, f"{type(failure).__name__}: {failure}")

    async def _read(self, answer: httpx2.Response, numbers: list[Any]) -> None:
        if "mcp-session-id" in answer.headers:
            self._session = {"Mcp-Session-Id": answer.headers["mcp-session-id"]}
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            async for _, data, _ in events(answer.aiter_lines()):
                self._come(data)
            self._lost(numbers, "the stream ended without an answer")
            return
        body = (await answer.aread()).decode()
        if answer.status_code == 202 and not numbers:
            return
        decoded = json.loads(body) if body[:1] in ("{", "[") else None
        if isinstance(decoded, dict) and "error" in decoded and decoded.get("id") is None:
            for number in numbers:
                self.deliver({**decoded, "id": number})
        elif decoded is not None:
            self._come(body)
        self._lost(numbers, f"HTTP {answer.status_code}: {body[:200]}")

    async def _get(self, answered: asyncio.Event) -> None:
        sent = {"Accept": "text/event-stream", **self._session, **self._version}
        with contextlib.suppress(httpx2.HTTPError):
            async with self._client.stream("GET", self._url, headers=sent) as answer:
                answered.set()
                if answer.status_code == 200:
                    async for _, data, _ in events(answer.aiter_lines()):
                        self._come(data)

    def _lost(self, numbers: list[Any], why: str) -> None:
        for number in numbers:
            self.lose(number, why)


class Plain(Http):
    """JSON-RPC for scripts: a body, and no header that repeats it. Who closes the connection cancels."""

    async def send(self, message: Json | list[Json], headers: dict[str, str]) -> None:
        await super().send(message, {})


class Sse(Base):
    """HTTP+SSE of 2024-11-05: everything comes on one stream, and is POSTed to where it says."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        super().__init__()
        self._url = url
        timeout = httpx2.Timeout(20, read=None)
        self._client = httpx2.AsyncClient(headers=dict(headers), timeout=timeout, trust_env=False)
        self._endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        self._tasks["GET"] = asyncio.ensure_future(self._listen())
        async with asyncio.timeout(10):
            self._post_to = urljoin(self._url, await self._endpoint)

    async def send(self, message: Json | list[Json], headers: dict[str, str]) -> None:
        several = message if isinstance(message, list) else [message]
        numbers = [one["id"] for one in several if "method" in one and "id" in one]
        posting = asyncio.ensure_future(self._post(message, numbers))
        if numbers:  # The answer may be here before the POST's own: whoever asks is not kept from waiting for it.
            self._tasks[numbers[0]] = posting
        else:
            await posting

    async def _post(self, message: Json | list[Json], numbers: list[Any]) -> None:
        answer = await self._client.post(self._post_to, json=message)
        for number in [] if answer.is_success else numbers:
            self.lose(number, f"HTTP {answer.status_code}: {answer.text[:200]}")

    async def close(self) -> None:
        await self._stop()
        await self._client.aclose()

    async def _listen(self) -> None:
        try:
            async with self._client.stream("GET", self._url, headers={"Accept": "text/event-stream"}) as answer:
                if answer.status_code != 200:
                    self._endpoint.set_exception(Lost(f"GET {self._url}: HTTP {answer.status_code}"))
                async for event, data, _ in events(answer.aiter_lines()):
                    if event == "endpoint":
                        self._endpoint.set_result(data)
                    else:
                        self._come(data)
        except httpx2.HTTPError as failure:
            if not self._endpoint.done():
                self._endpoint.set_exception(Lost(str(failure)))


class Frames(Base):
    """WebSocket, one message a frame."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        super().__init__()
        self._url = url
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._socket: WebSocket | None = None

    async def open(self) -> None:
        self._socket = await WebSocket.connect(self._url, self._headers, ("mcp",))
        self._tasks["receive"] = asyncio.ensure_future(self._receive())

    async def send(self, message: Json | list[Json], headers: dict[str, str]) -> None:
        assert self._socket is not None
        self._sending(message)
        await self._socket.send(json.dumps(message))

    async def close(self) -> None:
        await self._stop()
        if self._socket is not None:
            await self._socket.close()

    async def _receive(self) -> None:
        assert self._socket is not None
        while (frame := await self._socket.receive()) is not None:
            self._come(frame)
        self._end("the connection was closed")


class Lines(Base):
    """A program on stdio."""

    def __init__(self, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._command = command
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None

    async def open(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self._environment,
            limit=1 << 24,
        )
        self._tasks["receive"] = asyncio.ensure_future(self._receive())

    async def send(self, message: Json | list[Json], headers: dict[str, str]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._sending(message)
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        await self._process.stdin.drain()

    async def close(self) -> None:
        await self._stop()
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _receive(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self._come(line.decode())
        self._end(f"the program ended with {await self._process.wait()}")
