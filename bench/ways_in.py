"""Clients of every transport towards agents, made to cost little: each line has one call under way, then the next.

A `Load` holds its lines open for the whole measurement, says nothing between slices, and looks at every answer.
"""

import asyncio
import base64
import json
import os
import re
import sys
from collections.abc import Callable
from typing import Protocol, cast
from urllib.parse import urlsplit

import grpc

from bench import call, sessions
from toolgate.v1 import agent_pb2 as pb
from toolgate.v1 import agent_pb2_grpc as stubs

LAST_S = 20.0
_ID = re.compile(rb'"id":\s*(\d+)')
INITIALIZED = '{"jsonrpc":"2.0","method":"notifications/initialized"}'


def is_success(answer: bytes, results: int = 1) -> bool:
    """So many results of the tool, and neither a JSON-RPC error nor a tool that says it failed."""
    return answer.count(b'"content"') == results and b'"error"' not in answer and b'"isError"' not in answer


class Line(Protocol):
    async def ready(self) -> None:
        """Before a slice: a gateway closes connections that are silent for long."""

    def send(self) -> None:
        """One call; its answer goes to `Load.answered`."""


class Load:
    """So many lines, each calling again as soon as it is answered, from `start` to `stop`."""

    def __init__(self, *, entries: int = 1, must_hold: bytes = b"") -> None:
        """`entries`: calls in one request; `must_hold`: what an answer is worthless without."""
        self.lines: list[Line] = []
        self.calls = 0
        self.wrong: bytes | None = None
        """The first answer that was no success."""
        self._entries = entries
        self._must_hold = must_hold
        self._going = False
        self._under_way = 0
        self._quiet = asyncio.Event()

    async def ready(self) -> None:
        for line in self.lines:
            await line.ready()

    def start(self) -> None:
        self._going = True
        self._quiet.clear()
        self._under_way = len(self.lines)
        for line in self.lines:
            line.send()

    async def stop(self) -> None:
        """Until the last answer is here; exits where there is none, or a wrong one."""
        self._going = False
        try:
            async with asyncio.timeout(LAST_S):
                await self._quiet.wait()
        except TimeoutError:
            sys.exit(f"{self._under_way} calls were not answered within {LAST_S:g} s")
        if self.wrong is not None:
            sys.exit(f"not a success: {self.wrong[:2000]!r}")

    def answered(self, line: Line, answer: bytes) -> None:
        if is_success(answer, self._entries) and self._must_hold in answer:
            self.calls += self._entries
            if self._going:
                line.send()
                return
        else:
            self.wrong = self.wrong or answer or b"nothing"
        self._under_way -= 1
        if not self._under_way:
            self._quiet.set()


class Wire(asyncio.Protocol):
    """A connection whose unread bytes are shown to `heard` whenever there are more of them."""

    def __init__(self) -> None:
        self.unread = b""
        self.heard: Callable[[], None] = lambda: None
        self.lost: Callable[[], None] = lambda: None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own are no subclasses.

    def data_received(self, data: bytes) -> None:
        self.unread += data
        self.heard()

    def connection_lost(self, _: Exception | None) -> None:
        self.is_open = False
        self.lost()

    async def until(self, is_whole: Callable[[bytes], bool]) -> bytes:
        """What was not read before, once there is enough of it."""
        whole = asyncio.Event()
        self.heard = lambda: whole.set() if is_whole(self.unread) else None
        self.heard()
        async with asyncio.timeout(LAST_S):
            await whole.wait()
        self.heard = lambda: None
        taken, self.unread = self.unread, b""
        return taken


async def wire(url: str) -> Wire:
    parts = urlsplit(url)
    _, made = await asyncio.get_running_loop().create_connection(Wire, parts.hostname, parts.port)
    return made


def http_whole(data: bytes) -> bool:
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return False
    length = head.lower().partition(b"content-length:")[2]
    return len(rest) >= int(length.split(b"\r\n")[0]) if length else rest.endswith(b"0\r\n\r\n")


class HttpLine:
    """One request again and again."""

    def __init__(self, load: Load, url: str, request: bytes) -> None:
        self._load, self._url, self._request = load, url, request
        self._wire = Wire()
        self._wire.is_open = self._busy = False

    async def ready(self) -> None:
        if not self._wire.is_open:
            self._wire = await wire(self._url)
            self._wire.heard, self._wire.lost = self._heard, self._lost

    def send(self) -> None:
        self._busy = True
        self._wire.transport.write(self._request)

    def _lost(self) -> None:
        if self._busy:
            self._load.answered(self, b"the connection was lost")

    def _heard(self) -> None:
        if http_whole(self._wire.unread):
            answer, self._wire.unread = self._wire.unread, b""
            self._busy = False
            self._load.answered(self, answer if answer.startswith(b"HTTP/1.1 200") else b"")


def http(url: str, headers: dict[str, str], body: bytes, lines: int, load: Load) -> Load:
    request = sessions.request(url, headers, body)
    load.lines = [HttpLine(load, url, request) for _ in range(lines)]
    return load


class SseLine:
    """HTTP+SSE: a call is over once its POST is accepted and its answer has come on the stream."""

    def __init__(self, load: Load, stream: Wire, url: str, request: bytes) -> None:
        self._load, self._stream, self._url, self._request = load, stream, url, request
        self._posts = Wire()
        self._posts.is_open = self._busy = False
        stream.heard = self._heard
        stream.lost = lambda: load.answered(self, b"the stream was lost")

    async def ready(self) -> None:
        if not self._posts.is_open:
            self._posts = await wire(self._url)
            self._posts.heard, self._posts.lost = self._heard, self._lost

    def _lost(self) -> None:
        if self._busy:
            self._load.answered(self, b"the connection was lost")

    def send(self) -> None:
        self._busy, self._stream.unread = True, b""
        self._posts.transport.write(self._request)

    def _heard(self) -> None:
        if event_whole(self._stream.unread) and http_whole(self._posts.unread):
            answer, self._stream.unread, self._posts.unread = self._stream.unread, b"", b""
            self._busy = False
            self._load.answered(self, answer)


def event_whole(data: bytes) -> bool:
    return b'"jsonrpc"' in data and data.endswith(b"\n\n\r\n")


async def sse(url: str, key: str, lines: int) -> Load:
    """Sessions of 2024-11-05, one a line."""
    load = Load()
    sent = {"Authorization": f"Bearer {key}"}
    get = sessions.request(url, {**sent, "Accept": "text/event-stream"}, b"").replace(b"POST ", b"GET ", 1)
    for _ in range(lines):
        stream, posts = await wire(url), await wire(url)
        stream.transport.write(get)
        opened = await stream.until(lambda data: data.endswith(b"\n\n\r\n"))
        place = opened.partition(b"data: ")[2].split(b"\n")[0].decode()
        to = place if "://" in place else urlsplit(url)._replace(path="", query="").geturl() + place
        made = [_to(to, sent, message) for message in (hello("2024-11-05"), INITIALIZED, call.body("legacy"))]
        posts.transport.write(made[0])
        await stream.until(event_whole)
        await posts.until(http_whole)
        posts.transport.write(made[1])
        await posts.until(http_whole)
        posts.transport.close()
        load.lines.append(SseLine(load, stream, to, made[2]))
    return load


def _to(url: str, headers: dict[str, str], message: str) -> bytes:
    """`sessions.request`, with the query that a 2024-11-05 address has."""
    parts = urlsplit(url)
    made = sessions.request(url, {**headers, "Content-Type": "application/json"}, message.encode())
    return made.replace(b" HTTP/1.1", b"?%s HTTP/1.1" % parts.query.encode(), 1) if parts.query else made


def hello(revision: str) -> str:
    params = {**sessions.HELLO, "protocolVersion": revision}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})


class WebSocketLine:
    """Frames are masked with zeros, which is the cheapest mask there is."""

    def __init__(self, load: Load, wire: Wire, frame: bytes) -> None:
        self._load, self._wire, self._frame = load, wire, frame
        wire.heard = self._heard
        wire.lost = lambda: load.answered(self, b"the connection was lost")

    async def ready(self) -> None:
        """Pings keep it open."""

    def send(self) -> None:
        self._wire.transport.write(self._frame)

    def _heard(self) -> None:
        while (found := read_frame(self._wire.unread)) is not None:
            opcode, payload, taken = found
            self._wire.unread = self._wire.unread[taken:]
            if opcode == 9:
                self._wire.transport.write(masked(payload, opcode=10))
            elif opcode == 1 and b'"id":7' in payload:
                self._load.answered(self, payload)


def masked(payload: bytes, opcode: int = 1) -> bytes:
    size = len(payload)
    length = bytes([128 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([128 | opcode]) + length + bytes(4) + payload


def read_frame(data: bytes) -> tuple[int, bytes, int] | None:
    """(opcode, payload, bytes of the frame) of a server's frame at the start of `data`; None until it is whole."""
    if len(data) < 2:
        return None
    size, at = data[1], 2
    if size > 125:
        at = 4 if size == 126 else 10
        size = int.from_bytes(data[2:at], "big")
    return (data[0] & 15, data[at : at + size], at + size) if len(data) >= at + size else None


async def websocket(url: str, key: str, era: str, lines: int) -> Load:
    load = Load()
    nonce = base64.b64encode(os.urandom(16)).decode()
    upgrade = {"Authorization": f"Bearer {key}", "Connection": "Upgrade", "Upgrade": "websocket"}
    upgrade |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": nonce, "Sec-WebSocket-Protocol": "mcp"}
    handshake = sessions.request(url, upgrade, b"").replace(b"POST ", b"GET ", 1)
    for _ in range(lines):
        made = await wire(url)
        made.transport.write(handshake.replace(b"Content-Length: 0\r\n", b""))
        head = await made.until(lambda data: b"\r\n\r\n" in data)
        if not head.startswith(b"HTTP/1.1 101"):
            sys.exit(f"not a WebSocket: {head.decode()}")
        if era == "legacy":
            made.transport.write(masked(hello("2025-11-25").encode()))
            await made.until(lambda data: read_frame(data) is not None)
            made.transport.write(masked(INITIALIZED.encode()))
        load.lines.append(WebSocketLine(load, made, masked(call.body(era).encode())))
    return load


class GrpcLine:
    """A channel with a connection of its own."""

    def __init__(self, load: Load, target: str, key: str) -> None:
        self._load = load
        self._channel = grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        self._call = stubs.AgentStub(self._channel).Call
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._request = pb.CallRequest(tool="echo", arguments=json.dumps({"text": call.TEXT}).encode())
        self._wanted = asyncio.Event()
        self._running = asyncio.create_task(self._run())

    async def ready(self) -> None:
        """The channel connects again by itself."""

    def send(self) -> None:
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                answer = (await self._call(self._request, metadata=self._metadata, timeout=LAST_S)).answer
            except grpc.aio.AioRpcError as failure:
                self._load.answered(self, f"{failure.code()}: {failure.details()}".encode())
                continue
            good = answer.kind == pb.Answer.COMPLETE and not answer.is_error
            self._load.answered(self, answer.result if good else b"no complete answer")

    async def close(self) -> None:
        self._running.cancel()
        await self._channel.close()


class Bridge(asyncio.SubprocessProtocol):
    """A `toolgate stdio` with several calls under way, told apart by their ids."""

    def __init__(self) -> None:
        self.slots: dict[bytes, Slot] = {}
        self.greeted = asyncio.Event()
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.process = cast("asyncio.SubprocessTransport", transport)

    def write(self, line: bytes) -> None:
        cast("asyncio.WriteTransport", self.process.get_pipe_transport(0)).write(line)

    def pipe_data_received(self, _: int, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self.greeted.set()
            found = _ID.search(line)
            slot = self.slots.get(found[1]) if found else None
            if slot is not None:
                slot.load.answered(slot, line)


class Slot:
    def __init__(self, load: Load, bridge: Bridge, line: bytes) -> None:
        self.load, self._bridge, self._line = load, bridge, line

    async def ready(self) -> None:
        """The bridge sees to that."""

    def send(self) -> None:
        self._bridge.write(self._line)


async def stdio(url: str, key: str, era: str, bridges: int, each: int) -> tuple[Load, list[Bridge]]:
    load, started = Load(), []
    for _ in range(bridges):
        command = [str(call.BIN / "toolgate"), "stdio", "--endpoint", url]
        spawn = asyncio.get_running_loop().subprocess_exec
        _, bridge = await spawn(Bridge, *command, env={**os.environ, "TOOLGATE_API_KEY": key}, stderr=None)
        started.append(bridge)
        if era == "legacy":
            bridge.write(f"{hello('2025-11-25')}\n".encode())
            async with asyncio.timeout(LAST_S):
                await bridge.greeted.wait()
            bridge.write(f"{INITIALIZED}\n".encode())
        for number in range(100, 100 + each):
            message = json.loads(call.body(era)) | {"id": number}
            slot = Slot(load, bridge, f"{json.dumps(message)}\n".encode())
            bridge.slots[b"%d" % number] = slot
            load.lines.append(slot)
    return load, started


def with_progress(era: str) -> bytes:
    """A call that asks to be told of progress."""
    message = json.loads(call.body(era))
    message["params"].setdefault("_meta", {})["progressToken"] = 1
    return json.dumps(message).encode()


def batch(entries: int) -> bytes:
    one = json.loads(call.body("legacy"))
    return json.dumps([one | {"id": number} for number in range(entries)]).encode()


def at(url: str, path: str, endpoint: str) -> str:
    """Of a way into an endpoint of the bench's tenant; `url`: any at that gateway."""
    return urlsplit(url)._replace(path=f"/bench/{endpoint}/{path}").geturl()
