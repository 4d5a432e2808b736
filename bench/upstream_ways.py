"""MCP servers that cost little to answer, on the transports that bench/upstream.py does not speak.

    python -m bench.upstream_ways legacy|telling|sse|websocket|stdio

`legacy`: Streamable HTTP of 2025-11-25; `telling`: of 2026-07-28, each call answered by an event stream with one
progress notification before the result; `sse`: HTTP+SSE of 2024-11-05; `websocket` and `stdio`: 2026-07-28.
"""

import asyncio
import base64
import hashlib
import json
import os
import re
import sys
from abc import ABC, abstractmethod
from itertools import count
from typing import ClassVar

import httptools
import uvloop

from bench.upstream import replied, results

SIZE = 1024
_TOKEN = re.compile(rb'"progressToken":\s*("[^"]*"|\d+)')
_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
_NO_STREAM = b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n"


def of_handshakes(revision: str) -> dict[bytes, bytes]:
    """Method to the JSON of its result, as of a server that knows no other revision."""
    answers = {method: json.loads(answer) for method, answer in results(SIZE).items() if method != b"server/discover"}
    for answer in answers.values():
        for member in ("resultType", "ttlMs", "cacheScope", "_meta"):
            answer.pop(member, None)
    about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "bench", "version": "1"}}
    answers[b"initialize"] = {"protocolVersion": revision, **about}
    return {method: json.dumps(answer).encode() for method, answer in answers.items()}


def event(message: bytes, kind: bytes = b"message") -> bytes:
    """One, as a chunk of a body."""
    text = b"event: %s\ndata: %s\n\n" % (kind, message)
    return b"%x\r\n%s\r\n" % (len(text), text)


class Http(asyncio.Protocol, ABC):
    """A connection; one request is answered before the next one is read."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self._answers = answers
        self._body: list[bytes] = []
        self._url = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body.clear()
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.asked(self._parser.get_method(), b"".join(self._body))

    @abstractmethod
    def asked(self, verb: bytes, body: bytes) -> None:
        """Answer a request."""


class Legacy(Http):
    def asked(self, verb: bytes, body: bytes) -> None:
        if verb == b"GET":
            self._transport.write(_NO_STREAM)
            return
        answer = replied(body, self._answers)
        if answer is None:
            self._transport.write(_ACCEPTED)
            return
        session = b"mcp-session-id: bench\r\n" if b'"initialize"' in body else b""
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
        self._transport.write(head % (session, len(answer)) + answer)


class Telling(Http):
    def asked(self, verb: bytes, body: bytes) -> None:
        answer = None if verb == b"GET" else replied(body, self._answers)
        if answer is None:
            self._transport.write(_ACCEPTED if verb == b"POST" else _NO_STREAM)
            return
        self._transport.write(_EVENTS + b"\r\n")
        token = _TOKEN.search(body)
        if token is not None:
            params = b'{"progressToken":%s,"progress":1,"total":2,"message":"half of it is done"}' % token[1]
            told = b'{"jsonrpc":"2.0","method":"notifications/progress","params":%s}' % params
            self._transport.write(event(told))
        self._transport.write(event(answer) + b"0\r\n\r\n")


class Sse(Http):
    streams: ClassVar[dict[bytes, asyncio.BaseTransport]] = {}
    numbers: ClassVar = count(1)

    def asked(self, verb: bytes, body: bytes) -> None:
        place, _, number = self._url.partition(b"?session=")
        if verb == b"GET":
            number = b"%d" % next(self.numbers)
            self.streams[number] = self._transport
            self._transport.write(_EVENTS + b"\r\n" + event(b"/messages?session=" + number, b"endpoint"))
        elif place != b"/messages" or number not in self.streams:
            self._transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        else:
            self._transport.write(_ACCEPTED)
            answer = replied(body, self._answers)
            if answer is not None:
                self.streams[number].write(event(answer))


class WebSocket(asyncio.Protocol):
    """One message a text frame, none in fragments: the gateway sends none so small."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self._answers = answers
        self._unread = b""
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if not self._open:
            head, found, rest = self._unread.partition(b"\r\n\r\n")
            if not found:
                return
            self._accept(head)
            self._unread = rest
        while (frame := unmasked(self._unread)) is not None:
            opcode, payload, taken = frame
            self._unread = self._unread[taken:]
            self._heard(opcode, payload)

    def _accept(self, head: bytes) -> None:
        key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        digest = base64.b64encode(hashlib.sha1(key.partition(b":")[2].strip() + _WEBSOCKET).digest())
        chosen = b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-protocol: mcp\r\n"
        self._transport.write(b"HTTP/1.1 101 X\r\n%ssec-websocket-accept: %s\r\n\r\n" % (chosen, digest))
        self._open = True

    def _heard(self, opcode: int, payload: bytes) -> None:
        if opcode == 8:
            self._transport.close()
        elif opcode == 9:
            self._transport.write(b"\x8a%c%s" % (len(payload), payload))
        elif opcode == 1 and (answer := replied(payload, self._answers)) is not None:
            self._transport.write(text_frame(answer))


def text_frame(message: bytes) -> bytes:
    size = len(message)
    return (b"\x81%c" % size if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")) + message


def unmasked(data: bytes) -> tuple[int, bytes, int] | None:
    """(opcode, payload, bytes of the frame) of a client's frame at the start of `data`; None until it is whole."""
    if len(data) < 2:
        return None
    size, at = data[1] & 127, 2
    if size > 125:
        at = 4 if size == 126 else 10
        size = int.from_bytes(data[2:at], "big")
    end = at + 4 + size
    if len(data) < end:
        return None
    mask = (data[at : at + 4] * (size // 4 + 1))[:size]
    payload = int.from_bytes(data[at + 4 : end], "big") ^ int.from_bytes(mask, "big")
    return data[0] & 15, payload.to_bytes(size, "big"), end


def on_stdio() -> None:
    answers, unread = results(SIZE), b""
    while data := os.read(0, 1 << 16):
        *lines, unread = (unread + data).split(b"\n")
        said = [answer + b"\n" for line in lines if (answer := replied(line, answers)) is not None]
        left = memoryview(b"".join(said))
        while left:
            left = left[os.write(1, left) :]


async def listen(kind: str) -> None:
    served = {
        "legacy": lambda: Legacy(of_handshakes("2025-11-25")),
        "telling": lambda: Telling(results(SIZE)),
        "sse": lambda: Sse(of_handshakes("2024-11-05")),
        "websocket": lambda: WebSocket(results(SIZE)),
    }[kind]
    server = await asyncio.get_running_loop().create_server(served, "127.0.0.1", 0, backlog=1024)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        on_stdio()
    else:
        uvloop.run(listen(sys.argv[1]))
