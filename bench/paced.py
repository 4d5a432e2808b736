"""Load at a fixed rate: requests leave on schedule whether or not earlier ones have come back."""

import asyncio
from time import perf_counter
from urllib.parse import urlsplit

import uvloop

_CONNECTIONS = 64
_LAST_S = 5.0


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time; knows only answers with a content-length."""

    def __init__(self, request: bytes, idle: list["_Connection"], taken: list[float]) -> None:
        self._request, self._idle, self._taken = request, idle, taken
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._idle.append(self)

    def send(self, due: float) -> None:
        self._due = due
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(rest) >= length:
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(head.decode())
            self._buffer = b""
            self._taken.append(perf_counter() - self._due)
            self._idle.append(self)


async def _run(url: str, headers: dict[str, str], body: bytes, rate: float, seconds: float) -> list[float]:
    parts = urlsplit(url)
    head = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    start = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    request = f"{start}{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    loop = asyncio.get_running_loop()
    idle: list[_Connection] = []
    taken: list[float] = []
    for _ in range(_CONNECTIONS):
        await loop.create_connection(lambda: _Connection(request, idle, taken), parts.hostname, parts.port)
    # The loop's own clock stands still while it works, and counts whole milliseconds.
    start = perf_counter()
    sent = 0
    while (now := perf_counter()) - start < seconds:
        while idle and start + sent / rate <= now:
            idle.pop().send(start + sent / rate)
            sent += 1
        # Not less: the loop would take it for zero, and this generator for a whole processor.
        await asyncio.sleep(0.001)
    # What is still under way counts too: leaving it out would flatter whoever is late.
    while len(idle) < _CONNECTIONS and perf_counter() - start < seconds + _LAST_S:
        await asyncio.sleep(0.001)
    return taken


def run(url: str, headers: dict[str, str], body: bytes, rate: float, seconds: float) -> tuple[float, float]:
    """(p50, p99) seconds from when each request was due to when its answer was complete."""
    taken = sorted(uvloop.run(_run(url, headers, body, rate, seconds)))
    return taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
