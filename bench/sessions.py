"""Clients that leave as clients do: sessions dropped without a word, connections that fall silent.

Used by bench/memory.py; on its own: `python -m bench.sessions URL KEY [SESSIONS]`.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from itertools import count
from urllib.parse import urlsplit

from bench import call

CLIENTS = 32
NOTICED_S = 3.0
"""Until a gateway's figures show what was just opened."""
PER_CONNECTION = 50
"""Sessions a client opens on one connection before it takes a new one."""
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}


def request(url: str, headers: dict[str, str], body: bytes) -> bytes:
    """A whole HTTP/1.1 POST."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode() + body


async def _answer(reader: asyncio.StreamReader) -> dict[str, str]:
    """The headers of an answer, lower-case, its body read; `:status` among them."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    await reader.readexactly(int(headers.get("content-length", "0")))
    return {":status": head[0].split(" ")[1], **headers}


async def _open_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str, key: str) -> None:
    sent = call.headers("legacy", key)
    del sent["MCP-Protocol-Version"], sent["Mcp-Session-Id"]
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    writer.write(request(url, sent, json.dumps(hello).encode()))
    answer = await _answer(reader)
    if answer[":status"] != "200":
        sys.exit(f"initialize was answered with {answer[':status']}")
    sent = call.headers("legacy", key, answer["mcp-session-id"])
    writer.write(request(url, sent, b'{"jsonrpc":"2.0","method":"notifications/initialized"}'))
    answer = await _answer(reader)
    if answer[":status"] != "202":
        sys.exit(f"initialized was answered with {answer[':status']}")


async def _client(url: str, key: str, numbers: "count[int]", most: int) -> None:
    parts = urlsplit(url)
    while True:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for _ in range(PER_CONNECTION):
            if next(numbers) >= most:
                writer.transport.abort()
                return
            await _open_one(reader, writer, url, key)
        writer.transport.abort()


async def _open(url: str, key: str, most: int) -> None:
    numbers = count()
    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(_client(url, key, numbers, most))


def open_and_drop(url: str, key: str, most: int) -> float:
    """Initialize and initialized, `most` times, and never a DELETE: sessions per second."""
    begun = time.monotonic()
    asyncio.run(_open(url, key, most))
    return most / (time.monotonic() - begun)


async def _fall_silent(url: str, key: str, most: int, left: Callable[[], int], limit_s: float) -> float:
    parts = urlsplit(url)
    whole = request(url, call.headers("modern", key), call.body("modern").encode())
    head = whole.index(b"\r\n\r\n")
    kinds = (b"", whole[: head // 2], whole[: head + 200], whole)
    begun = time.monotonic()
    writers = []
    for number in range(most):
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(kinds[number % len(kinds)])
        writer.transport.pause_reading()
        writers.append(writer)
    await asyncio.sleep(NOTICED_S)
    while await asyncio.to_thread(left) > 0 and time.monotonic() - begun < limit_s:
        await asyncio.sleep(1.0)
    took = time.monotonic() - begun
    for writer in writers:
        writer.transport.abort()
    return took


def fall_silent(url: str, key: str, most: int, left: Callable[[], int], limit_s: float) -> float:
    """Connections that say nothing, half a head, half a body or one call, and then neither speak nor read nor close.

    Seconds until the gateway has let go of all, as `left` tells; at most `limit_s`. A peer that lost its power or its
    network looks like this.
    """
    return asyncio.run(_fall_silent(url, key, most, left, limit_s))


if __name__ == "__main__":
    print(f"{open_and_drop(sys.argv[1], sys.argv[2], int((sys.argv[3:] or ['10000'])[0])):.0f} sessions/s")
