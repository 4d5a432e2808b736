"""Ten minutes without a control plane, at 5,000 calls a second: `python -m bench.outage [RECORDS]`.

As many records as that makes (3,000,000) go through a real spool while nobody takes them: what they need on the disk,
and what they cost the supervisor. Then a control plane with PostgreSQL is there, takes them all, and its audit log is
counted and verified. Exits 1 when one is lost, or when they need more room than a spool has by default.
"""

import asyncio
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from adapters.fleet.channel import Link
from adapters.fleet.records import GrpcRecords
from adapters.postgres.audit import PostgresAudit
from adapters.postgres.database import Database
from adapters.postgres.embedded import EmbeddedPostgres
from bench.records import records
from core.call import RecordsAway
from data_plane.settings import OPTIONS
from data_plane.spool import Spool
from data_plane.supervisor.records import RecordPump
from tests.harness.planes import Planes, running

RATE = 5_000
OUTAGE_S = 600
BLOCK = 10_000
MIB = 1024 * 1024
DEFAULT_MIB = int(next(option.default for option in OPTIONS if option.name == "spool_max_mib"))
ID = "0123456789abcdef0123456789abcdef"[:18]
"""With the number behind it as long as a call's id is."""


class Away:
    async def ship(self, rows: list[bytes]) -> None:
        raise RecordsAway(f"{len(rows)} must wait")


async def outage(folder: Path, count: int) -> bool:
    """Spool them all; whether they fit by default."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    pump = RecordPump(folder, Away(), lambda _: None)
    spool = Spool(folder, DEFAULT_MIB * MIB)
    kept, looking = 0, 0.0
    for start in range(0, count, BLOCK):
        rows = records(f"{ID}{start:08x}", min(BLOCK, count - start))
        kept += sum(spool.append(row) for row in rows)
        begun = time.perf_counter()
        pump.look()
        looking += time.perf_counter() - begun
    begun = time.perf_counter()
    pump.look()
    idle_ms = (time.perf_counter() - begun) * 1e3
    size, files = pump.waiting_bytes, len(os.listdir("/proc/self/fd"))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  {kept:,} of {count:,} records kept in {size / MIB:,.0f} MiB ({size / max(kept, 1):.0f} bytes each)")
    print(
        f"  the default of {DEFAULT_MIB:,} MiB holds {DEFAULT_MIB * MIB / (size / max(kept, 1)) / RATE:,.0f} s of them"
    )
    print(f"  supervisor: {looking / count * 1e6:.1f} us a record; a look at nothing new {idle_ms:.1f} ms;", end=" ")
    print(f"{files:,} files open; {rss:,.0f} MiB resident")
    spool.close()
    pump.close()
    return kept == count


async def back(folder: Path, planes: Planes, dsn: str, count: int) -> bool:
    """A restarted supervisor hands over what is there; whether the log then has it all, and is whole."""
    link = Link(targets=(f"127.0.0.1:{planes.grpc_port}",), token=(planes.folder / "node.token").read_text().strip())
    target = GrpcRecords(link)
    pump = RecordPump(folder, target, lambda _: None)
    pump.look()
    begun = time.perf_counter()
    while await pump.ship_once():
        pump.look()
    took = time.perf_counter() - begun
    await target.close()
    database = await Database.open(dsn)
    verdict = await PostgresAudit(database).verify("bench")
    calls = await (await _count(database)).fetchone()
    await database.close()
    found = calls[0] if calls else 0
    print(f"  handed over in {took:,.0f} s ({count / took:,.0f}/s); {found:,} calls in the audit log,", end=" ")
    print("which is whole" if verdict.intact else f"which is NOT whole: {verdict.reason}")
    return bool(verdict.intact and found == count)


async def _count(database: Database):
    async with database.connection() as conn:
        return await conn.execute("SELECT count(*) FROM audit WHERE tenant = 'bench' AND type = 'call'")


async def main(count: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="toolgate-bench-") as name:
        folder = Path(name)
        print(f"{count:,} records while the control plane is away ({count / RATE:,.0f} s at {RATE:,}/s)")
        fits = await outage(folder / "spool", count)
        embedded = EmbeddedPostgres(folder / "postgres")
        await embedded.start()
        (folder / "planes").mkdir()
        try:
            async with running(folder / "planes", embedded.dsn()) as planes:
                await planes.apply('{"kind": "Tenant", "name": "bench", "spec": {}}')
                whole = await back(folder / "spool", planes, embedded.dsn(), count)
        finally:
            await embedded.stop()
    print(f"  {'met   ' if fits and whole else 'MISSED'}  no record is lost")
    return fits and whole


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(int((sys.argv[1:] or [str(RATE * OUTAGE_S)])[0]))) else 1)
