"""The rows and columns of the matrix, and how a client of each row reaches a server of each column."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.harness.upstream_matrix_transport import PATHS
from tests.matrix.front import Front, Lost, Pipe, RpcError
from tests.matrix.grpc_pipe import Grpc
from tests.matrix.pipes import Frames, Http, Lines, Plain, Sse
from tests.matrix.properties import PROPERTIES, Property, batch

TOOLGATE = Path(sys.executable).with_name("toolgate")
PROPERTY_S = 45.0
CELL_S = 120.0


@dataclass(frozen=True)
class Row:
    """A client: what it speaks and over what."""

    revision: str
    transport: str

    @property
    def name(self) -> str:
        return f"{self.revision} {self.transport}"

    def properties(self) -> dict[str, Property]:
        """Those that can be: ABSENT says why others cannot."""
        absent = ABSENT.get(self.transport, {})
        there = {name: holds for name, holds in PROPERTIES.items() if name not in absent}
        return there | ({"batch": batch} if self.revision == "2025-03-26" else {})


@dataclass(frozen=True)
class Column:
    """A server: which era it is of, and how it is reached."""

    era: str
    transport: str

    @property
    def name(self) -> str:
        return f"{self.era}-{self.transport}"


REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
ROWS = (
    *(Row(revision, transport) for transport in ("http", "sse", "websocket", "stdio") for revision in REVISIONS),
    Row("2026-07-28", "rpc"),
    Row("2026-07-28", "grpc"),
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
    "HTTP+SSE of a modern server": "revision 2026-07-28 has no event stream to POST beside",
    "rpc and gRPC before 2026-07-28": "they have no session to shake hands in; each request says what it can be asked",
}
"""Rows and columns that are not there, and why."""
ABSENT = {
    "rpc": {
        "progress": "an answer is one JSON document, and nothing is told before it",
        "list_changed": "there is no stream to hear of it on: scripts list again",
    }
}
"""By transport: properties that cannot be, and why."""

Reach = Callable[[Row], Pipe]


@dataclass(frozen=True)
class Gateway:
    """The ports of one, and a key of the tenant `matrix`."""

    port: int
    grpc_port: int
    key: str


def through(gateway: Gateway, endpoint: str) -> Reach:
    """An endpoint of the tenant `matrix`."""
    origin = f"http://127.0.0.1:{gateway.port}/matrix/{endpoint}"
    key = gateway.key
    authorized = {"Authorization": f"Bearer {key}"}

    def pipe(row: Row) -> Pipe:
        if row.transport == "grpc":
            return Grpc(gateway.grpc_port, key, tenant="matrix", endpoint=endpoint)
        if row.transport == "rpc":
            return Plain(f"{origin}/rpc", authorized, modern=True)
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
    outcome: dict[str, str] = {}
    while left := {name: holds for name, holds in row.properties().items() if name not in outcome}:
        outcome |= await one_client(row, reach, left)
    return outcome


async def failure(row: Row, reach: Reach, holds: Property) -> str:
    """Of one property, with a client of its own."""
    return (await one_client(row, reach, {"it": holds}))["it"]


async def one_client(row: Row, reach: Reach, properties: dict[str, Property]) -> dict[str, str]:
    """As `tried`, up to and with the first that does not hold: a client that hangs would fail the others too."""
    outcome: dict[str, str] = {}
    under_way = next(iter(properties))
    try:
        async with asyncio.timeout(CELL_S), Front(row.revision, reach(row)) as front:
            for under_way, holds in properties.items():
                async with asyncio.timeout(PROPERTY_S):
                    await holds(front)
                outcome[under_way] = ""
    except (AssertionError, RpcError, Lost) as why:
        outcome[under_way] = str(why).splitlines()[0] if str(why) else type(why).__name__
    except TimeoutError:
        outcome[under_way] = f"took more than {PROPERTY_S:g} s"
    except Exception as why:
        outcome[under_way] = f"{type(why).__name__}: {why}"
    return outcome
