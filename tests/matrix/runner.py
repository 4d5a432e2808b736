"""Runs every cell of the era matrix through a gateway and prints the matrix.

    python -m tests.matrix.runner [--rows SUBSTRING] [--columns SUBSTRING] [--page FILE] [--keep FOLDER]

A cell is a client (row), a server (column) and what of PROPERTIES does not hold between them; `--page` names a Markdown
file whose part between the two marks is replaced by the matrix.
"""

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import yaml

from adapters.postgres.embedded import EmbeddedPostgres
from tests.harness.planes import Planes, free_port, running, until
from tests.harness.postgres import FAST
from tests.harness.upstream_matrix import command, serving
from tests.matrix.cells import ABSENT, COLUMNS, IMPOSSIBLE, ROWS, Column, Gateway, Row, through, tried
from tests.matrix.properties import PROPERTIES

BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
AT_ONCE = 3
"""Cells of a row, each of which has a server of its own and mostly waits."""
TENANT = """
{kind: Tenant, name: matrix, spec: {}}
---
{kind: User, tenant: matrix, name: runner, spec: {groups: [all]}}
---
{kind: Agent, tenant: matrix, name: client, spec: {}}
---
kind: Role
tenant: matrix
name: caller
spec: {permissions: [{tools: ["*"], prompts: ["*"], resources: ["*"]}]}
---
{kind: RoleBinding, tenant: matrix, name: callers, spec: {role: caller, subjects: [{kind: group, name: all}]}}
"""

Matrix = dict[Row, dict[Column, dict[str, str]]]
"""What fails, by property; empty text: it holds."""


def server(column: Column, url: str) -> str:
    """The manifests of a server and of an endpoint with it alone, both named as the column."""
    transport: dict[str, object] = {"type": column.transport, "url": url, "allow_private": True}
    if column.transport == "stdio":
        transport = {"type": "stdio", "command": command(column.era)}  # type: ignore[arg-type]
    of_it = {"tenant": "matrix", "name": column.name}
    manifests = [
        {"kind": "Server", **of_it, "spec": {"on_change": "approve", "timeout_s": 30, "transport": transport}},
        {"kind": "Endpoint", **of_it, "spec": {"prefix": "never", "members": [{"server": column.name}]}},
    ]
    return yaml.safe_dump_all(manifests)


@asynccontextmanager
async def gateway(folder: Path, columns: list[Column]) -> AsyncIterator[tuple[Gateway, list[Column]]]:
    """It, and those of the columns that it serves: others are told of."""
    async with AsyncExitStack() as stack:
        postgres = EmbeddedPostgres(folder / "postgres", settings=FAST)
        await postgres.start()
        stack.push_async_callback(postgres.stop)
        planes = await stack.enter_async_context(running(folder, postgres.dsn("postgres")))
        await planes.apply(TENANT)
        key = await planes.key("matrix", "client", user="runner", agent="client")
        for column in columns:
            url = ""
            if column.transport != "stdio":
                url = (await stack.enter_async_context(serving(column.era, column.transport))).url  # type: ignore[arg-type]
            await planes.apply(server(column, url))
        grpc_port = free_port()
        node = await planes.node("gw", TOOLGATE_AGENT_GRPC_PORT=str(grpc_port))
        served = [column for column in columns if await is_served(planes, key, column)]
        yield Gateway(node.port, grpc_port, key), served


async def is_served(planes: Planes, key: str, column: Column) -> bool:
    agent = planes.nodes[0].agent(key, f"/matrix/{column.name}/mcp")

    async def lists() -> bool:
        reply = await agent.request("tools/list", {})
        return reply.ok and bool(reply.message["result"]["tools"])  # type: ignore[index]

    try:
        await until(lists, f"{column.name} listed", 20)
    except AssertionError:
        status = await planes.status("matrix", "server", column.name)
        print(f"NOT SERVED {column.name}: {status}", flush=True)
        return False
    finally:
        await agent.close()
    return True


async def measured(folder: Path, rows: list[Row], columns: list[Column]) -> Matrix:
    matrix: Matrix = {}
    turns = asyncio.Semaphore(AT_ONCE)
    async with gateway(folder, columns) as (gate, served):
        for row in rows:
            began = time.monotonic()
            matrix[row] = {column: {"served": "the gateway does not reach it"} for column in columns}
            found = await asyncio.gather(*(cell_found(row, column, gate, turns) for column in served))
            matrix[row] |= dict(zip(served, found, strict=True))
            print(f"{row.name}: {time.monotonic() - began:.1f} s", flush=True)
    return matrix


async def cell_found(row: Row, column: Column, gate: Gateway, turns: asyncio.Semaphore) -> dict[str, str]:
    async with turns:
        return await tried(row, through(gate, column.name))


def rendered(matrix: Matrix) -> Iterator[str]:
    """Each cell names what does not hold, or says that all does."""
    columns = list(next(iter(matrix.values())))
    yield "| client \\ server | " + " | ".join(column.name.replace("-", ", ") for column in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for row, cells in matrix.items():
        yield f"| {row.name} | " + " | ".join(cell(row, cells[column]) for column in columns) + " |"
    yield ""
    yield f"`all` is {', '.join(PROPERTIES)}; for 2025-03-26 batches too. Not there:"
    yield ""
    absent = ((f"{name} over {at}", why) for at, properties in ABSENT.items() for name, why in properties.items())
    yield from (f"- {what}: {why}." for what, why in itertools.chain(IMPOSSIBLE.items(), absent))


def cell(row: Row, found: dict[str, str]) -> str:
    failing = [name for name, why in found.items() if why]
    if failing:
        return f"not: {', '.join(failing)}"
    return f"all but {', '.join(ABSENT[row.transport])}" if row.transport in ABSENT else "all"


def complaints(matrix: Matrix) -> Iterator[str]:
    for row, cells in matrix.items():
        for column, found in cells.items():
            yield from (f"{row.name} | {column.name} | {name}: {why[:240]}" for name, why in found.items() if why)


def replaced(page: str, table: str) -> str:
    """The page with the matrix between its marks. Raises ValueError where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page must have {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


async def main(rows: list[Row], columns: list[Column], folder: Path, page: Path | None) -> int:
    began = time.monotonic()
    matrix = await measured(folder, rows, columns)
    table = "\n".join(rendered(matrix))
    failing = list(complaints(matrix))
    print("", table, "", *failing, sep="\n")
    if page is not None:
        page.write_text(replaced(page.read_text(), table))
    checks = sum(len(found) for cells in matrix.values() for found in cells.values())
    print(f"matrix: {checks - len(failing)} of {checks} hold, {time.monotonic() - began:.0f} s")
    return 1 if failing else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default="", help="only rows whose name holds this, such as '2025-11-25 http'")
    parser.add_argument("--columns", default="", help="only columns whose name holds this, such as 'legacy'")
    parser.add_argument("--page", type=Path, help="a Markdown file to keep the matrix in")
    parser.add_argument("--keep", type=Path, help="a folder, not there yet, for everything the run writes")
    given = parser.parse_args()
    wanted_rows = [row for row in ROWS if given.rows in row.name]
    wanted_columns = [column for column in COLUMNS if given.columns in column.name]
    if not wanted_rows or not wanted_columns:
        parser.error("no such row or column")
    if given.keep is not None:
        given.keep.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="toolgate-matrix-") as made:
        sys.exit(asyncio.run(main(wanted_rows, wanted_columns, given.keep or Path(made), given.page)))
