"""From the commit of a change to in force on every gateway: `python -m bench.fleet_propagation [GATEWAYS] [CHANGES]`.

Control plane, PostgreSQL and one gateway are processes as operators run them; the other gateways are simulated in one
more process: real gRPC streams, every signature and digest checked, secrets opened, nothing served. A change is a rate
limit of a tenant with a hundred tools. The clock starts when the change's transaction began, as the control plane
stamps it, and stops, gateway by gateway, when the change is in force there. Exits 1 when the 99th percentile is missed.
"""

import asyncio
import multiprocessing
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

import grpc
import psycopg

from adapters.postgres.embedded import EmbeddedPostgres
from bench.tenants_1000 import TOOLS, specs, upstream_of
from control_plane.api.envelope import struct_of
from core.snapshot import Manifest, TenantUpdate
from tests.harness.fleet import HoldingNode, connected
from tests.harness.planes import Planes, running, until
from toolgate.v1 import resources_pb2 as pb
from toolgate.v1 import resources_pb2_grpc as rpc

TENANT = "tenant-00000"
P99_MS = 100.0
PAUSE_S = 0.05
WRITTEN_S = 0.5
"""The control plane writes what it knows of gateways a few times a second."""
WITHIN_S = 30.0


class TimingNode(HoldingNode):
    """Notes how old the newest change was when it came into force, in wall-clock time all processes share."""

    late_s = 0.0

    def _take(self, update: TenantUpdate, manifest: Manifest) -> None:
        super()._take(update, manifest)
        self.late_s = time.time() - update.committed_unix_us / 1e6


def gateways(target: str, token: str, count: int, pipe: Connection) -> None:
    asyncio.run(_gateways(target, token, count, pipe))


async def _gateways(target: str, token: str, count: int, pipe: Connection) -> None:
    nodes = [TimingNode(f"node-{i}") for i in range(count)]
    async with AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(connected(node, target, token=token))
        for node in nodes:
            await node.until(lambda node=node: node.generation(TENANT) > 0, WITHIN_S)
        pipe.send("ready")
        while await asyncio.to_thread(pipe.recv):
            wanted = max(node.generation(TENANT) for node in nodes) + 1
            pipe.send("set")
            for node in nodes:
                await node.until(lambda node=node, wanted=wanted: node.generation(TENANT) >= wanted, WITHIN_S)
            pipe.send([node.late_s for node in nodes])


class Admin:
    """Applies over gRPC, as `toolgate apply` does."""

    def __init__(self, planes: Planes, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.ResourcesStub(channel)
        self._metadata = (("authorization", f"Bearer {(planes.folder / 'admin.token').read_text().strip()}"),)

    async def apply(self, kind: str, tenant: str, name: str, spec: dict[str, object]) -> None:
        """Returns once it is committed."""
        request = pb.ApplyRequest(kind=kind, tenant=tenant, name=name, spec=struct_of(spec))
        await self._stub.Apply(request, metadata=self._metadata)


async def declared(admin: Admin, planes: Planes, dsn: str, upstream_port: int) -> None:
    """The tenant with its tools, learnt through a real gateway that stays."""
    await admin.apply("Tenant", "", TENANT, {})
    for (kind, name), spec in specs(TENANT, upstream_port).items():
        await admin.apply(kind, TENANT, name, spec)
    await planes.node("real")

    async def learnt() -> bool:
        return await asyncio.to_thread(_number, dsn, "SELECT count(*) FROM definitions") == TOOLS

    await until(learnt, "the tools")


async def measured(admin: Admin, pipe: Connection, dsn: str, changes: int) -> tuple[list[list[float]], list[float]]:
    """Milliseconds by change and gateway; and what the control plane says of the real gateway."""
    simulated: list[list[float]] = []
    real: list[float] = []
    for number in range(1, changes + 1):
        pipe.send(True)
        await asyncio.to_thread(pipe.recv)
        await admin.apply("RateLimit", TENANT, "fair", {"calls": 1000 + number})
        simulated.append([1000 * late for late in await asyncio.to_thread(pipe.recv)])
        await asyncio.sleep(PAUSE_S)
        if number % 10 == 0:
            await asyncio.sleep(WRITTEN_S)
            real.append(await asyncio.to_thread(_number, dsn, "SELECT lag_ms FROM nodes WHERE name = 'real'"))
    pipe.send(False)
    return simulated, real


def _number(dsn: str, query: str) -> float:
    with psycopg.connect(dsn) as database:
        row = database.execute(query.encode()).fetchone()
    assert row is not None
    return float(row[0])


def report(count: int, simulated: list[list[float]], real: list[float]) -> bool:
    each = sorted(delay for row in simulated for delay in row)
    slowest = sorted(max(row) for row in simulated)
    print(f"{count} gateways, {len(simulated)} changes of a tenant with {TOOLS} tools; ms from commit to in force")
    for name, row in (("every gateway", each), ("the slowest of a change", slowest), ("a real gateway", sorted(real))):
        print(f"  {name:26} p50 {_rank(row, 50):6.1f}   p99 {_rank(row, 99):6.1f}   max {row[-1]:6.1f}")
    met = _rank(each, 99) <= P99_MS
    print(f"  {'met   ' if met else 'MISSED'}  p99 of every gateway at most {P99_MS:g} ms")
    return met


def _rank(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


async def main(count: int, changes: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="toolgate-bench-") as folder, ExitStack() as stack:
        upstream_port = upstream_of(stack)
        embedded = EmbeddedPostgres(Path(folder) / "postgres")
        await embedded.start()
        try:
            async with running(Path(folder), embedded.dsn()) as planes:
                channel = grpc.aio.insecure_channel(f"127.0.0.1:{planes.grpc_port}")
                admin = Admin(planes, channel)
                await declared(admin, planes, embedded.dsn(), upstream_port)
                ours, theirs = multiprocessing.Pipe()
                token = (planes.folder / "node.token").read_text().strip()
                arguments = (f"127.0.0.1:{planes.grpc_port}", token, count, theirs)
                process = multiprocessing.get_context("spawn").Process(target=gateways, args=arguments, daemon=True)
                process.start()
                await asyncio.to_thread(ours.recv)
                simulated, real = await measured(admin, ours, embedded.dsn(), changes)
                await asyncio.to_thread(process.join)
                await channel.close()
        finally:
            await embedded.stop()
    return report(count, simulated, real)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    sys.exit(0 if asyncio.run(main(*(numbers + [50, 200][len(numbers) :]))) else 1)
