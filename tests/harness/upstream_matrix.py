"""A server of one era over one transport, for the era matrix.

    python -m tests.harness.upstream_matrix --era legacy|modern|both --transport http|sse|websocket|stdio [--port N]
        [--revision 2025-06-18] [--page N]

`--revision` is the latest handshake revision it knows, `--page` how many entries a list has at once. Prints its URL
once it listens; port 0 takes a free one. HTTP+SSE has no modern era.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS

from tests.harness.upstream_matrix_server import Fixture, Serving
from tests.harness.upstream_matrix_tools import make
from tests.harness.upstream_matrix_transport import PATHS, Era, Transport, app, listening, on_stdio


@dataclass(frozen=True)
class Matrix:
    """A running server: where it is, and what it saw."""

    url: str
    fixture: Fixture


def command(era: Era, *flags: str) -> list[str]:
    """Starts it over stdio, from wherever: a gateway's children run in a folder of their own."""
    return [sys.executable, str(Path(__file__).with_name("upstream_matrix_stdio.py")), "--era", era, *flags]


@asynccontextmanager
async def serving(
    era: Era, transport: Transport, port: int = 0, server: Serving | None = None
) -> AsyncIterator[Matrix]:
    """In this process, over any transport but stdio."""
    server = server or make().server()
    async with listening(app(server, era, transport), port) as port_taken:
        scheme = "ws" if transport == "websocket" else "http"
        yield Matrix(f"{scheme}://127.0.0.1:{port_taken}{PATHS[transport]}", server.fixture)


async def until_told(server: Serving, era: Era, transport: Transport, port: int) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(era, transport, port, server) as matrix:
        print(matrix.url, flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--era", choices=["legacy", "modern", "both"], required=True)
    parser.add_argument("--transport", choices=["http", "sse", "websocket", "stdio"], required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--revision", choices=HANDSHAKE_PROTOCOL_VERSIONS)
    parser.add_argument("--page", type=int, default=12)
    chosen = parser.parse_args()
    if chosen.transport == "sse" and chosen.era != "legacy":
        parser.error("HTTP+SSE is a transport of revision 2024-11-05: it has no modern era")
    server = make(page=chosen.page, revision=chosen.revision).server()
    if chosen.transport == "stdio":
        asyncio.run(on_stdio(server, chosen.era))
    else:
        asyncio.run(until_told(server, chosen.era, chosen.transport, chosen.port))


if __name__ == "__main__":
    main()
