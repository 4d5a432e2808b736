"""The rows and columns of the matrix, and how a client of each row reaches a server of each column."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.harness.upstream_matrix_transport import PATHS
from tests.matrix.front import Front, Lost, Pipe, RpcError
from tests.matrix.pipes import Frames, Http, Lines, Sse
from tests.matrix.properties import PROPERTIES, Property, batch

TOOLGATE = Path(sys.executable).with_name("toolgate")
PROPERTY_S = 45.0


@dataclass(frozen=True)
class Row:
    """A client: what it speaks and over what."""

    revision: str
    transport: str

    @property
    def name(self) -> str:
        return f"{self.revision} {self.transport}"

    def properties(self) -> dict[str, Property]:
        return PROPERTIES | ({"batch": batch} if self.revision == "2025-03-26" else {})


@dataclass(frozen=True)
class Column:
    """A server: which era it is of, and how it is reached."""

    era: str
    transport: str

    @property
    def name(self) -> str:
        return f"{self.era}-{self.transport}"


ROWS = (
    Row("2024-11-05", "sse"),
    Row("2025-03-26", "http"),
    Row("2025-06-18", "http"),
    Row("2025-11-25", "http"),
    Row("2026-07-28", "http"),
    Row("2025-06-18", "websocket"),
    Row("2025-11-25", "websocket"),
    Row("2026-07-28", "websocket"),
    Row("2025-06-18", "stdio"),
    Row("2025-11-25", "stdio"),
    Row("2026-07-28", "stdio"),
)
COLUMNS = (
    Column("legacy", "http"),
    Column("legacy", "sse"),
    Column("legacy", "websocket"),
    Column("legacy", "stdio"),
    Column("modern", "http"),
    Column("modern", "websocket"),
    Column("modern", "stdio"),
)
IMPOSSIBLE = {
    "HTTP+SSE towards clients of later revisions": "it is the transport of 2024-11-05",
    "HTTP+SSE of a modern server": "revision 2026-07-28 has no event stream to POST beside",
    "WebSocket and stdio before 2025-06-18": "the same bytes as later, and batches are Streamable HTTP's",
}
"""Cells that are not there, and why."""

Reach = Callable[[Row], Pipe]


def through(origin: str, key: str) -> Reach:
    """A gateway's endpoint, whose URL without its last part is `origin`."""
    authorized = {"Authorization": f"Bearer {key}"}

    def pipe(row: Row) -> Pipe:
        if row.transport == "http":
            return Http(f"{origin}/mcp", authorized, modern=row.revision >= "2026")
        if row.transport == "sse":
            return Sse(f"{origin}/sse", authorized)
        if row.transport == "websocket":
            return Frames(f"{origin}/ws".replace("http", "ws", 1), authorized)
        return Lines([str(TOOLGATE), "stdio", "--endpoint", f"{origin}/mcp"], {"TOOLGATE_API_KEY": key})

    return pipe


def straight(url: str) -> Reach:
    """A server, by its own transport."""

    def pipe(row: Row) -> Pipe:
        if row.transport == "http":
            return Http(url, {}, modern=row.revision >= "2026")
        return Sse(url, {}) if url.endswith(PATHS["sse"]) else Frames(url, {})

    return pipe


async def tried(row: Row, reach: Reach) -> dict[str, str]:
    """By property: why it does not hold; empty where it does."""
    outcome = {}
    for name, holds in row.properties().items():
        outcome[name] = await failure(row, reach, holds)
    return outcome


async def failure(row: Row, reach: Reach, holds: Property) -> str:
    """Each property has a client of its own, or one that hangs would fail the others."""
    try:
        async with asyncio.timeout(PROPERTY_S), Front(row.revision, reach(row)) as front:
            await holds(front)
    except (AssertionError, RpcError, Lost) as why:
        return str(why).splitlines()[0] if str(why) else type(why).__name__
    except TimeoutError:
        return f"took more than {PROPERTY_S:g} s"
    except Exception as why:
        return f"{type(why).__name__}: {why}"
    return ""
