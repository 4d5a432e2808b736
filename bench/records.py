"""How fast a control plane stores records, and at what cost: `python -m bench.records [RECORDS]`.

Records as a gateway ships them, one stream, batches acknowledged one by one; decoded, chained by hash and in PostgreSQL
before each acknowledgement. Control plane and PostgreSQL are processes as operators run them. Exits 1 when one control
plane cannot take what one gateway worker can make.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from adapters.fleet.channel import Link
from adapters.fleet.records import GrpcRecords
from adapters.postgres.embedded import EmbeddedPostgres
from bench import processes
from core.call import Record
from tests.harness.planes import Planes, running

BATCHES = (200, 1000, 2000)
A_WORKER_MAKES = 5_000
"""Calls a second of one worker at saturation, about."""


def records(prefix: str, count: int) -> list[bytes]:
    """Of calls as bench/call.py makes them."""
    common = Record(
        id="",
        at_unix=time.time(),
        tenant="bench",
        endpoint="default",
        transport="streamable_http",
        era="modern",
        revision="2026-07-28",
        method="tools/call",
        tool="echo",
        server="fast",
        user="ada",
        agent="loader",
        credential="key:loader",
        outcome="ok",
        reasons=("role:caller",),
        generation=5,
        bytes_in=1300,
        bytes_out=1100,
        duration_us=9000,
        upstream_us=5000,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        span_id="00f067aa0ba902b7",
        client_address="127.0.0.1",
        node="bench",
        arguments_digest=bytes(range(16)),
        policy_digest=bytes(range(16)),
        cost=1,
    )
    encode = msgspec.msgpack.Encoder().encode
    return [encode(msgspec.structs.replace(common, id=f"{prefix}-{number:x}")) for number in range(count)]


async def measured(planes: Planes, postgres: int, count: int, size: int) -> float:
    """Records a second in batches of `size`."""
    assert planes.control is not None
    link = Link(targets=(f"127.0.0.1:{planes.grpc_port}",), token=(planes.folder / "node.token").read_text().strip())
    made, target = records(f"0123456789abcdef-{size}", count), GrpcRecords(link)
    pids = {"control plane": planes.control.pid, "PostgreSQL": postgres}
    before = {name: processes.cpu_s(processes.tree(pid)) for name, pid in pids.items()}
    begun = time.perf_counter()
    for start in range(0, count, size):
        await target.ship(made[start : start + size])
    took = time.perf_counter() - begun
    spent = {name: processes.cpu_s(processes.tree(pid)) - before[name] for name, pid in pids.items()}
    await target.close()
    costs = ", ".join(f"{name} {seconds / count * 1e6:.0f} us" for name, seconds in spent.items())
    print(f"  batches of {size:5}: {count / took:7,.0f} records/s; CPU a record: {costs}", flush=True)
    return count / took


async def main(count: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="toolgate-bench-") as folder:
        embedded = EmbeddedPostgres(Path(folder) / "postgres")
        await embedded.start()
        try:
            async with running(Path(folder), embedded.dsn()) as planes:
                await planes.apply(json.dumps({"kind": "Tenant", "name": "bench", "spec": {}}))
                print(f"{count:,} records each, stored before they are acknowledged")
                rates = [await measured(planes, embedded.pid or 0, count, size) for size in BATCHES]
        finally:
            await embedded.stop()
    met = max(rates) >= A_WORKER_MAKES
    print(f"  {'met   ' if met else 'MISSED'}  at least {A_WORKER_MAKES:,} records a second")
    return met


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(int((sys.argv[1:] or ["40000"])[0]))) else 1)
