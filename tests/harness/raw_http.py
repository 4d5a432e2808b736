"""HTTP and WebSocket on a bare socket: what is sent is exactly what a test says, byte for byte."""

import json
import socket
import struct
from collections.abc import Iterator
from types import TracebackType

LIMIT_S = 5.0
_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="


class Reply:
    def __init__(self, head: bytes, body: bytes) -> None:
        line, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(line.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        self.body = body

    @property
    def message(self) -> dict:
        return json.loads(self.body)  # type: ignore[no-any-return]

    @property
    def error(self) -> tuple[int, int, object]:
        """Status, code and id of a JSON-RPC error that came as JSON."""
        assert self.message.keys() == {"jsonrpc", "id", "error"}, self.message
        return self.status, self.message["error"]["code"], self.message["id"]


class Wire:
    """One connection; one that the other side closed is opened again for the next request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._rest = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket, self._rest = None, b""

    def send(self, raw: bytes) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=LIMIT_S)
        self._socket.sendall(raw)

    def exchange(self, raw: bytes) -> Reply:
        """A request's whole answer. Of a stream only the head: the connection is closed over it."""
        self.send(raw)
        reply = self.head()
        if "transfer-encoding" in reply.headers:
            self.close()
            return reply
        reply.body = self.read(int(reply.headers.get("content-length", "0")))
        if reply.headers.get("connection") == "close":
            self.close()
        return reply

    def head(self) -> Reply:
        return Reply(self.until(b"\r\n\r\n"), b"")

    def until(self, end: bytes) -> bytes:
        while end not in self._rest:
            self._more()
        found, self._rest = self._rest.split(end, 1)
        return found

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def _more(self) -> None:
        assert self._socket is not None
        piece = self._socket.recv(65536)
        if not piece:
            raise EOFError(self._rest[:1000])
        self._rest += piece

    # === streams ===

    def events(self) -> Iterator[tuple[str, str]]:
        """(event, data) of a chunked event stream, without comments."""
        text = ""
        while True:
            text += self.read(int(self.until(b"\r\n"), 16)).decode()
            self.read(2)
            *whole, text = text.split("\n\n")
            for event in whole:
                fields = dict(line.split(": ", 1) for line in event.split("\n"))
                if "data" in fields:
                    yield fields.get("event", "message"), fields["data"]

    def upgrade(self, path: str, key: bytes) -> Reply:
        """To a WebSocket."""
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key.decode()}"]
        lines += [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {_KEY}",
        ]
        self.send("\r\n".join([*lines, "", ""]).encode())
        return self.head()

    def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of what a WebSocket server sends."""
        first, size = self.read(2)
        if size > 125:
            size = struct.unpack("!H", self.read(2))[0] if size == 126 else struct.unpack("!Q", self.read(8))[0]
        return first & 0x0F, self.read(size)


def request(path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> bytes:
    fields = {"Host": "localhost", "Content-Length": str(len(body))} | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def masked(payload: bytes, opcode: int = 0x81) -> bytes:
    """A client's frame, under a mask that changes nothing."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
    return bytes([opcode]) + length + bytes(4) + payload
