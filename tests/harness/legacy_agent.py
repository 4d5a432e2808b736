"""A client of the handshake era at its barest: one session, any number of gateways, every event as it comes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

LIMIT_S = 60.0
Json = dict[str, object]


@dataclass(frozen=True)
class Event:
    """One of a stream; `message` is None for the priming event."""

    id: str
    message: Json | None


@dataclass
class Answer:
    """An HTTP answer: whole in `body`, or a stream to be read from `events`."""

    status: int
    headers: dict[str, str]
    body: bytes
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    last_id: str = ""
    _lines: list[bytes] = field(default_factory=list)

    @property
    def streams(self) -> bool:
        return self.headers.get("content-type") == "text/event-stream"

    def json(self) -> Json:
        return dict(json.loads(self.body))

    async def event(self, limit_s: float = LIMIT_S) -> Event | None:
        """The next; None at the stream's end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(limit_s):
            while (line := await self._line()) is not None:
                name, _, value = line.decode().partition(": ")
                if line and name:
                    fields[name] = value
                elif not line and "data" in fields:
                    self.last_id = fields.get("id", self.last_id)
                    data = fields["data"]
                    return Event(fields.get("id", ""), json.loads(data) if data else None)
                elif not line:
                    fields = {}
        return None

    async def comment(self, limit_s: float = LIMIT_S) -> str:
        """The next line that is no event's."""
        async with asyncio.timeout(limit_s):
            while (line := await self._line()) is not None and not line.startswith(b":"):
                pass
        return (line or b"").decode()

    async def message(self, limit_s: float = LIMIT_S) -> Json:
        """The next event's that has one."""
        while True:
            event = await self.event(limit_s)
            assert event is not None, "the stream ended"
            if event.message is not None:
                return event.message

    async def rest(self) -> list[Json]:
        """All messages until the end."""
        messages = []
        while (event := await self.event()) is not None:
            if event.message is not None:
                messages.append(event.message)
        return messages

    def leave(self) -> None:
        self._writer.close()

    async def _line(self) -> bytes | None:
        while not self._lines or b"\n" not in self._lines[0]:
            try:
                size = int(await self._reader.readline() or b"0", 16)
                data = await self._reader.readexactly(size)
                await self._reader.readline()
            except (OSError, asyncio.IncompleteReadError):
                return None
            if not data:
                return None
            self._lines = [b"".join([*self._lines, data])]
        line, _, rest = self._lines[0].partition(b"\n")
        self._lines = [rest] if rest else []
        return line


class LegacyAgent:
    """`session` once `begin` was called; each request says at which port, and is a connection of its own."""

    def __init__(self, key: str, path: str = "/mcp", revision: str = "2025-11-25") -> None:
        self.key, self.path, self.revision = key, path, revision
        self.session = ""
        self._open: list[Answer] = []
        self._id = 0

    async def begin(self, port: int, **capabilities: object) -> None:
        params = {
            "protocolVersion": self.revision,
            "capabilities": capabilities,
            "clientInfo": {"name": "t", "version": "1"},
        }
        answer = await self.post(port, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        assert answer.status == 200, answer.body
        self.session = answer.headers["mcp-session-id"]
        await self.post(port, {"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def request(self, port: int, method: str, params: Json | None = None, id: object = None) -> Answer:  # noqa: A002
        self._id += 1
        message = {"jsonrpc": "2.0", "id": self._id if id is None else id, "method": method, "params": params or {}}
        return await self.post(port, message)

    async def call(self, port: int, tool: str, arguments: Json | None = None, **meta: object) -> Answer:
        params: Json = {"name": tool, "arguments": arguments or {}}
        return await self.request(port, "tools/call", params | ({"_meta": meta} if meta else {}))

    async def text(self, port: int, tool: str, **arguments: object) -> str:
        """Of a call's result, whichever way it comes."""
        answer = await self.call(port, tool, arguments)
        message = (await answer.rest())[-1] if answer.streams else answer.json()
        return str(message["result"]["content"][0]["text"])  # type: ignore[index]

    async def reply(self, port: int, question: Json, result: Json) -> int:
        """The status that an answer to a server's question gets."""
        return (await self.post(port, {"jsonrpc": "2.0", "id": question["id"], "result": result})).status

    async def stream(self, port: int, last_id: str = "") -> Answer:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        return await self.send(port, "GET", b"", headers)

    async def end(self, port: int) -> int:
        return (await self.send(port, "DELETE", b"", {})).status

    async def post(self, port: int, message: object) -> Answer:
        head = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        return await self.send(port, "POST", json.dumps(message).encode(), head)

    async def send(self, port: int, method: str, body: bytes, headers: dict[str, str]) -> Answer:
        sent = {"Host": "localhost", "Authorization": f"Bearer {self.key}", "Content-Length": str(len(body)), **headers}
        if self.session:
            sent["Mcp-Session-Id"] = self.session
            if self.revision >= "2025-06-18":
                sent["MCP-Protocol-Version"] = self.revision
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        writer.write(f"{method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        async with asyncio.timeout(LIMIT_S):
            status, *pairs = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
            found = {name.lower(): value for name, _, value in (pair.partition(": ") for pair in pairs)}
            answer = Answer(int(status.split()[1]), found, b"", reader, writer)
            self._open.append(answer)
            if "content-length" in found:
                answer.body = await reader.readexactly(int(found["content-length"]))
                writer.close()
        return answer

    def leave(self) -> None:
        for answer in self._open:
            answer.leave()


@asynccontextmanager
async def legacy_agent(key: str, path: str = "/mcp", revision: str = "2025-11-25") -> AsyncIterator[LegacyAgent]:
    agent = LegacyAgent(key, path, revision)
    try:
        yield agent
    finally:
        agent.leave()
