"""1,000 tenants of 100 tools: applied, learnt, compiled, and brought to a fresh gateway.

`python -m bench.tenants_1000 [TENANTS]`. Control plane, gateway and PostgreSQL are processes as operators run them; the
tenants are applied with `toolgate apply`, their tools learnt from a server that offers a hundred. Exits 1 when the
control plane and then a fresh gateway need more than five seconds together.
"""

import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg

from adapters.postgres.embedded import EmbeddedPostgres
from bench import processes
from tests.harness.planes import Node, Planes, running

TOOLS = 100
LIMIT_S = 5.0
WAIT_S = 600.0
ROOT = Path(__file__).parents[1]


def resources(count: int, upstream: int) -> Iterator[dict[str, object]]:
    """What each tenant declares: eight resources, one of them a server of its own."""
    transport = {"type": "http", "url": f"http://127.0.0.1:{upstream}/mcp", "allow_private": True}
    subjects = [{"kind": "agent", "name": "helper"}]
    specs: dict[tuple[str, str], dict[str, object]] = {
        ("Agent", "helper"): {"attributes": {"team": "support"}},
        ("Role", "caller"): {"permissions": [{"tools": ["*"], "max_risk": "medium"}]},
        ("RoleBinding", "helper"): {"role": "caller", "subjects": subjects},
        ("Server", "crm"): {"transport": transport, "refresh_s": 86400},
        ("Endpoint", "default"): {"members": [{"server": "crm"}]},
        ("RateLimit", "fair"): {"calls": 600, "per": ["caller"]},
        ("Guard", "pii"): {"detectors": ["card", "email"]},
    }
    for number in range(count):
        tenant = f"tenant-{number:05}"
        yield {"kind": "Tenant", "name": tenant, "spec": {}}
        for (kind, name), spec in specs.items():
            # Each has a description of its own, so that no two tenants' catalogues are one part.
            own = {"descriptions": {"echo": f"Looks into the files of {tenant}."}} if kind == "Endpoint" else {}
            yield {"kind": kind, "tenant": tenant, "name": name, "spec": _with(spec, own)}


def _with(spec: dict[str, object], own: dict[str, object]) -> dict[str, object]:
    return {"members": [{"server": "crm", **own}]} if own else spec


@dataclass
class Timed:
    """Prints how long steps took."""

    planes: Planes
    count: int
    dsn: str

    async def step(self, what: str, done: Callable[[], Awaitable[object]]) -> float:
        begun = time.perf_counter()
        while not await done():
            if time.perf_counter() - begun > WAIT_S:
                sys.exit(f"never came: {what}")
            await asyncio.sleep(0.02)
        return self.say(what, begun)

    def say(self, what: str, begun: float) -> float:
        took = time.perf_counter() - begun
        print(f"  {what:68} {took:7.2f} s", flush=True)
        return took

    def number(self, query: str) -> int:
        with psycopg.connect(self.dsn) as database:
            row = database.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])

    async def published(self) -> bool:
        """Every tenant's newest change is in a publication."""
        query = (
            "SELECT count(*) FROM publications AS p JOIN tenant_revisions AS r USING (tenant)"
            " WHERE p.generation > 0 AND p.revision >= r.revision"
        )
        return self.number(query) >= self.count

    async def learnt(self) -> bool:
        done = self.number("SELECT count(*) FROM server_looks WHERE look ->> 'era' <> ''") >= self.count
        return done and await self.published()

    async def in_force(self, node: Node) -> bool:
        found = re.search(r"^toolgate_snapshot_tenants (\S+)$", await node.metrics(), re.MULTILINE)
        return found is not None and float(found[1]) == self.count


async def filled(timed: Timed, upstream: int) -> None:
    """All tenants applied and their tools learnt; no process of ours is left running."""
    planes = timed.planes
    documents = [json.dumps(resource) for resource in resources(timed.count, upstream)]
    begun = time.perf_counter()
    await planes.apply("\n---\n".join(documents))
    timed.say(f"`toolgate apply` of {len(documents):,} resources", begun)
    await timed.step("  and everything published", timed.published)
    scout = await planes.node("scout")
    await timed.step(f"{timed.count:,} servers looked at, {TOOLS} tools each learnt and published", timed.learnt)
    scout.stop()


async def restart_control_plane(timed: Timed, *, forget: bool) -> float:
    """Seconds from the start of the process until everything is published. `forget`: nothing was, before."""
    planes = timed.planes
    assert planes.control is not None
    planes.control.stop(15)
    if forget:
        timed.number("WITH p AS (DELETE FROM publications), q AS (DELETE FROM parts) SELECT 1")
    begun = time.perf_counter()
    planes.start_control_plane()
    await planes.control_plane_ready()
    timed.say("control plane: start of the process until ready", begun)
    while not await timed.published():
        await asyncio.sleep(0.02)
    what = "until all was compiled, signed and stored" if forget else "until it was sure that all is published"
    return timed.say(f"control plane: start of the process {what}", begun)


async def fresh_gateway(timed: Timed, name: str, how: str) -> float:
    """Seconds from the start of the process until every tenant is in force."""
    begun = time.perf_counter()
    node = await timed.planes.node(name)
    timed.say(f"fresh gateway, {how}: start of the process until ready", begun)
    while not await timed.in_force(node):
        await asyncio.sleep(0.02)
    took = timed.say(f"fresh gateway, {how}: until all {timed.count:,} tenants were in force", begun)
    await served(timed, node)
    assert node.child is not None
    print(f"  {'its supervisor then':68} {processes.rss_mib(node.child.pid):7.1f} MiB")
    node.stop()
    begun = time.perf_counter()
    node.start()
    while not await timed.in_force(node):
        await asyncio.sleep(0.02)
    timed.say("the same gateway again, from its disk", begun)
    node.stop()
    return took


async def served(timed: Timed, node: Node) -> None:
    """A call of the last tenant's agent goes through."""
    tenant = f"tenant-{timed.count - 1:05}"
    key = await timed.planes.key(tenant, node.name, agent="helper")
    deadline = time.monotonic() + 10
    while not (reply := await node.agent(key).call("echo", text="hello")).ok:
        if time.monotonic() > deadline:
            sys.exit(f"the fresh gateway does not serve {tenant}: {reply.status} {reply.body!r}")
        await asyncio.sleep(0.02)


async def measured(planes: Planes, count: int, dsn: str) -> bool:
    timed = Timed(planes, count, dsn)
    with ExitStack() as stack:
        command = (sys.executable, str(ROOT / "bench/upstream.py"), "0", "1024", str(TOOLS))
        _, line = stack.enter_context(processes.child(*command, ready="ready"))
        await filled(timed, int(line.split()[1]))
        size = timed.number("SELECT sum(length(data)) FROM parts")
        print(f"  snapshots: {size / 1e6:.0f} MB in {timed.number('SELECT count(*) FROM parts'):,} parts")
        compiled = await restart_control_plane(timed, forget=True)
        delivered = await fresh_gateway(timed, "fresh", "parts in the control plane's memory")
        await restart_control_plane(timed, forget=False)
        await fresh_gateway(timed, "late", "parts in PostgreSQL only")
    whole = compiled + delivered
    verdict = "met   " if whole <= LIMIT_S else "MISSED"
    print(f"  {verdict}  compiled from nothing, and a fresh gateway: {whole:.2f} s (at most {LIMIT_S:g} s)")
    return whole <= LIMIT_S


async def main(count: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="toolgate-bench-") as folder:
        embedded = EmbeddedPostgres(Path(folder) / "postgres")
        await embedded.start()
        try:
            async with running(Path(folder), embedded.dsn()) as planes:
                print(f"{count:,} tenants of {TOOLS} tools")
                return await measured(planes, count, embedded.dsn())
        finally:
            await embedded.stop()


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(int((sys.argv[1:] or ["1000"])[0]))) else 1)
