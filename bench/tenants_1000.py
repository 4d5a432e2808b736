"""1,000 tenants of 100 tools, compiled and brought to a fresh gateway: `python -m bench.tenants_1000 [tenants]`.

Rows are written to PostgreSQL directly, as a restored backup would have them: what is measured is a control plane that
starts and finds nothing published, and a gateway that starts and holds nothing. The gateway is simulated: a real stream
in a process of its own, every signature and digest checked, secrets opened, nothing served.
"""

import asyncio
import multiprocessing
import resource
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import psycopg

from adapters.postgres.database import Database
from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.migrate import migrate
from bench.fleet_propagation import tools
from core.definition import Look, canonical_digest
from core.resource import Ref
from tests.harness.fleet import ControlPlane, HoldingNode, assemble, connected, control_plane
from tests.harness.postgres import MIGRATIONS

SPECS = {
    ("Server", "clock"): {"transport": {"type": "http", "url": "https://clock.example.com/mcp"}},
    ("Endpoint", "default"): {"members": [{"server": "clock"}]},
    ("Agent", "helper"): {},
    ("Role", "caller"): {"permissions": [{"max_risk": "medium"}]},
    ("RoleBinding", "helper"): {"role": "caller", "subjects": [{"kind": "agent", "name": "helper"}]},
    ("ApiKey", "key"): {"agent": "helper"},
    ("RateLimit", "fair"): {"calls": 600},
    ("Guard", "pii"): {"detectors": ["card", "email"]},
}


def fill(dsn: str, one: ControlPlane, count: int) -> None:
    """Tenants, eight resources and a hundred approved tools each."""
    names = [f"tenant-{i:05}" for i in range(count)]
    look = msgspec.json.encode(Look(era="modern", protocol_version="2026-07-28", looked_unix=1.0, seen_unix=1.0))
    with psycopg.connect(dsn) as conn, conn.cursor() as cursor:
        columns = "tenant, kind, name, namespace, labels, spec, status, generation, created_at, updated_at"
        with cursor.copy(f"COPY resources ({columns}) FROM STDIN") as copy:
            for name in names:
                copy.write_row(("", "Tenant", name, "", "{}", "{}", "{}", 1, "now", "now"))
                for (kind, own), spec in SPECS.items():
                    text = msgspec.json.encode(spec).decode()
                    copy.write_row((name, kind, own, "", "{}", text, "{}", 1, "now", "now"))
        with cursor.copy("COPY sealed_values (tenant, kind, name, key_id, sealed) FROM STDIN") as copy:
            for name in names:
                sealed = one.vault.new_keys(Ref("Tenant", "", name))
                copy.write_row(("", "Tenant", name, sealed.key_id, sealed.sealed))
        with cursor.copy("COPY key_hashes (tenant, name, key_id, hash, issued_at) FROM STDIN") as copy:
            for name in names:
                copy.write_row((name, "key", "id", name.encode().ljust(32, b"0"), "now"))
        with cursor.copy("COPY server_looks (tenant, server, spec_digest, look, due_at) FROM STDIN") as copy:
            for name in names:
                copy.write_row((name, "clock", b"", look.decode(), "infinity"))
        columns = "tenant, server, name, approved, approved_digest, observed, observed_digest, observed_at"
        rows = [(tool, raw, canonical_digest(raw)) for tool, raw in tools().items()]
        with cursor.copy(f"COPY definitions ({columns}) FROM STDIN") as copy:
            for name in names:
                for tool, raw, digest in rows:
                    own = raw.replace(b"dddd", name.encode(), 1)
                    copy.write_row((name, "clock", tool, own, digest, own, digest, "now"))


def gateway(target: str, count: int, pipe: Connection) -> None:
    asyncio.run(_gateway(target, count, pipe))


async def _gateway(target: str, count: int, pipe: Connection) -> None:
    node = HoldingNode("fresh")
    pipe.send("ready")
    pipe.recv()
    begun = time.perf_counter()
    async with connected(node, target):
        await node.until(lambda: len(node.manifests) == count, 120)
        took = time.perf_counter() - begun
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    pipe.send((took, cpu.ru_utime + cpu.ru_stime, sum(map(len, node.parts.values()))))


async def published(plane: ControlPlane, count: int) -> None:
    while len(plane.plane.hub.in_force()) < count:
        await asyncio.sleep(0.005)


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        embedded = EmbeddedPostgres(Path(folder))
        await embedded.start()
        database = await Database.open(embedded.dsn())
        await migrate(database, MIGRATIONS)
        await asyncio.to_thread(fill, embedded.dsn(), assemble(database), count)
        await database.close()
        context = multiprocessing.get_context("spawn")
        begun, cpu = time.perf_counter(), time.process_time()
        async with control_plane(embedded.dsn()) as plane:
            await published(plane, count)
            took = time.perf_counter() - begun
            print(f"{count} tenants of {len(tools())} tools")
            print(f"  compiled, signed and stored: {took:.2f} s, {time.process_time() - cpu:.2f} s of CPU")
            await delivered("from memory", context, plane, count)
        async with control_plane(embedded.dsn(), replica="next") as plane:
            await delivered("by a replica just started, from PostgreSQL", context, plane, count)
        await embedded.stop()


async def delivered(how: str, context: multiprocessing.context.SpawnContext, plane: ControlPlane, count: int) -> None:
    ours, theirs = context.Pipe()
    process = context.Process(target=gateway, args=(plane.target, count, theirs), daemon=True)
    process.start()
    await asyncio.to_thread(ours.recv)
    cpu = time.process_time()
    ours.send("go")
    took, gateway_cpu, size = await asyncio.to_thread(ours.recv)
    cpu = time.process_time() - cpu
    process.join()
    print(f"  a fresh gateway, {how}: {took:.2f} s for {size / 1e6:.0f} MB", end="")
    print(f" (CPU: control plane {cpu:.2f} s, gateway {gateway_cpu:.2f} s with its start)")


if __name__ == "__main__":
    asyncio.run(main(int((sys.argv[1:] or ["1000"])[0])))
