"""From the commit of a change to in force on every gateway: `python -m bench.fleet_propagation [gateways] [changes]`.

The control plane (publisher, streams; its PostgreSQL beside it) and the gateways are two processes on this machine.
Gateways are simulated: real gRPC streams, every signature and digest checked, secrets opened, nothing served. The clock
starts when the change is committed and stops, gateway by gateway, when it is in force there.
"""

import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from adapters.postgres.database import Database
from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.migrate import migrate
from core.snapshot import Manifest
from tests.harness.fleet import ControlPlane, HoldingNode, connected, control_plane
from tests.harness.postgres import MIGRATIONS

TOOLS = 100


class TimingNode(HoldingNode):
    """Notes when each generation came into force, in wall-clock time both processes share."""

    applied: dict[int, float]

    def _take(self, update: object, manifest: Manifest) -> None:
        super()._take(update, manifest)  # type: ignore[arg-type]
        self.applied[manifest.generation] = time.time()


def gateways(target: str, count: int, pipe: Connection) -> None:
    asyncio.run(_gateways(target, count, pipe))


async def _gateways(target: str, count: int, pipe: Connection) -> None:
    nodes = [TimingNode(f"node-{i}") for i in range(count)]
    async with AsyncExitStack() as stack:
        for node in nodes:
            node.applied = {}
            await stack.enter_async_context(connected(node, target))
        while (wanted := await asyncio.to_thread(pipe.recv)) is not None:
            for node in nodes:
                await node.until(lambda node=node: node.generation("acme") >= wanted, 30)
            pipe.send([max(at for generation, at in node.applied.items() if generation == wanted) for node in nodes])


def tools() -> dict[str, bytes]:
    schema = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(5)}}
    fields = {"description": "d" * 200, "inputSchema": schema}
    return {f"tool_{i}": msgspec.json.encode({"name": f"tool_{i}", **fields}) for i in range(TOOLS)}


async def measured(plane: ControlPlane, pipe: Connection, changes: int) -> list[list[float]]:
    await plane.tenant("acme", "clock")
    await plane.approve("acme", "clock", tools())
    await plane.publisher_settled()
    delays = []
    before = plane.plane.hub.generation("acme")
    for number in range(1, changes + 1):
        begun = time.time()
        await plane.apply("RateLimit", "acme", "fair", {"calls": number})
        committed = time.time()
        while plane.plane.hub.generation("acme") == before:
            await asyncio.sleep(0.002)
        before = plane.plane.hub.generation("acme")
        pipe.send(before)
        applied = await asyncio.to_thread(pipe.recv)
        delays.append([committed - begun, *(at - committed for at in applied)])
    pipe.send(None)
    return delays


async def main(count: int, changes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        embedded = EmbeddedPostgres(Path(folder))
        await embedded.start()
        database = await Database.open(embedded.dsn())
        await migrate(database, MIGRATIONS)
        await database.close()
        async with control_plane(embedded.dsn()) as plane:
            ours, theirs = multiprocessing.Pipe()
            context = multiprocessing.get_context("spawn")
            process = context.Process(target=gateways, args=(plane.target, count, theirs), daemon=True)
            process.start()
            while plane.plane.hub.connected < count:
                await asyncio.sleep(0.05)
            delays = await measured(plane, ours, changes)
            process.join()
        await embedded.stop()
    report(count, delays)


def report(count: int, delays: list[list[float]]) -> None:
    each = sorted(1000 * delay for row in delays for delay in row[1:])
    slowest = sorted(1000 * max(row[1:]) for row in delays)
    print(
        f"{count} gateways, {len(delays)} changes of a tenant with {TOOLS} tools; milliseconds from commit to applied"
    )
    print(f"  every gateway:  p50 {_rank(each, 50):6.1f}   p99 {_rank(each, 99):6.1f}   max {each[-1]:6.1f}")
    print(f"  the slowest:    p50 {_rank(slowest, 50):6.1f}   p99 {_rank(slowest, 99):6.1f}   max {slowest[-1]:6.1f}")
    print(f"  the commit itself takes {1000 * statistics.median(row[0] for row in delays):.1f} (median)")


def _rank(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    asyncio.run(main(*(numbers + [50, 200][len(numbers) :])))
