"""1,000 tenants of 100 tools: compiled, and brought to a fresh gateway.

`python -m bench.tenants_1000 [--tenants N] [--apply]`. Control plane, gateway and PostgreSQL are processes as operators
run them. What tenants declared and what was learnt of their servers is put into the database as a restored backup would
have it; with `--apply` it comes as in life, by `toolgate apply` and a gateway's looks at a server of a hundred tools,
which takes minutes. Exits 1 when a control plane that has compiled nothing and a gateway that holds nothing, started
together, need more than five seconds until every tenant is in force.
"""

import argparse
import asyncio
import base64
import json
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psycopg

from adapters.crypto.sealing import AesGcmSealer
from adapters.postgres.database import Database
from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.secrets import PostgresSealedValues
from bench import processes, upstream
from control_plane.services.secrets import KEY_BYTES, KeyRing, Vault
from core.definition import Look, canonical_digest
from core.resource import Ref, digest, encode
from core.server import Server
from tests.harness.planes import Node, Planes, running

TOOLS = 100
LIMIT_S = 5.0
WAIT_S = 600.0
LOOK_EVERY_S = 0.1
"""Looking costs what is looked at some CPU too."""
ROOT = Path(__file__).parents[1]


def upstream_of(stack: ExitStack) -> int:
    """The port of a server with a hundred tools, running until the stack closes."""
    command = (sys.executable, str(ROOT / "bench/upstream.py"), "0", "1024", str(TOOLS))
    _, line = stack.enter_context(processes.child(*command, ready="ready"))
    return int(line.split()[1])


def specs(tenant: str, upstream_port: int) -> dict[tuple[str, str], dict[str, object]]:
    """What a tenant declares, by kind and name: a server of its own, and no two tenants' catalogues are one part."""
    transport = {"type": "http", "url": f"http://127.0.0.1:{upstream_port}/mcp", "allow_private": True}
    said = {"echo": f"Looks into the files of {tenant}."}
    return {
        ("Agent", "helper"): {"attributes": {"team": "support"}},
        ("Role", "caller"): {"permissions": [{"tools": ["*"], "max_risk": "medium"}]},
        ("RoleBinding", "helper"): {"role": "caller", "subjects": [{"kind": "agent", "name": "helper"}]},
        ("Server", "crm"): {"transport": transport, "refresh_s": 86400},
        ("Endpoint", "default"): {"members": [{"server": "crm", "descriptions": said}]},
        ("RateLimit", "fair"): {"calls": 600, "per": ["caller"]},
        ("Guard", "pii"): {"detectors": ["card", "email"]},
    }


def names(count: int) -> list[str]:
    return [f"tenant-{number:05}" for number in range(count)]


def documents(count: int, upstream_port: int) -> Iterator[str]:
    """Manifests of everything."""
    for tenant in names(count):
        yield json.dumps({"kind": "Tenant", "name": tenant, "spec": {}})
        for (kind, name), spec in specs(tenant, upstream_port).items():
            yield json.dumps({"kind": kind, "tenant": tenant, "name": name, "spec": spec})


def restore(dsn: str, vault: Vault, count: int, upstream_port: int) -> None:
    """The rows that `toolgate apply` and a first look at every server leave behind."""
    offered = [(str(tool["name"]), msgspec.json.encode(tool)) for tool in upstream.tools(TOOLS)]
    tools = [(name, raw, canonical_digest(raw)) for name, raw in offered]
    look = msgspec.json.encode(Look(era="modern", protocol_version="2026-07-28", looked_unix=1.0, seen_unix=1.0))
    with psycopg.connect(dsn) as conn, conn.cursor() as cursor:
        columns = "tenant, kind, name, namespace, labels, spec, status, generation, created_at, updated_at"
        with cursor.copy(f"COPY resources ({columns}) FROM STDIN") as copy:
            for tenant in names(count):
                own = {("Tenant", tenant): {}, **specs(tenant, upstream_port)}
                for (kind, name), spec in own.items():
                    owner = "" if kind == "Tenant" else tenant
                    copy.write_row((owner, kind, name, "", "{}", json.dumps(spec), "{}", 1, "now", "now"))
        with cursor.copy("COPY sealed_values (tenant, kind, name, key_id, sealed) FROM STDIN") as copy:
            for tenant in names(count):
                sealed = vault.new_keys(Ref("Tenant", "", tenant))
                copy.write_row(("", "Tenant", tenant, sealed.key_id, sealed.sealed))
        with cursor.copy("COPY server_looks (tenant, server, spec_digest, look, due_at) FROM STDIN") as copy:
            for tenant in names(count):
                server = msgspec.convert(specs(tenant, upstream_port)["Server", "crm"], Server)
                reach = digest(encode((server.transport, server.era)))
                copy.write_row((tenant, "crm", reach, look.decode(), "infinity"))
        columns = "tenant, server, name, approved, approved_digest, observed, observed_digest, observed_at"
        with cursor.copy(f"COPY definitions ({columns}) FROM STDIN") as copy:
            for tenant in names(count):
                for name, raw, mark in tools:
                    copy.write_row((tenant, "crm", name, raw, mark, raw, mark, "now"))
        conn.execute("UPDATE revision SET latest = latest + 1")
        with cursor.copy("COPY tenant_revisions (tenant, revision) FROM STDIN") as copy:
            for tenant in names(count):
                copy.write_row((tenant, 1))
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ANALYZE")


@dataclass
class Timed:
    """Prints how long steps took."""

    planes: Planes
    count: int
    database: "psycopg.Connection[tuple[int, ...]]"
    postgres: int
    """Process id."""

    async def step(self, what: str, done: Callable[[], Awaitable[object]]) -> None:
        begun = time.perf_counter()
        await self.until(done)
        self.say(what, begun)

    async def until(self, done: Callable[[], Awaitable[object]]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not await done():
                await asyncio.sleep(LOOK_EVERY_S)

    def leave(self, node: Node) -> None:
        node.stop()
        self.planes.nodes.remove(node)

    def say(self, what: str, begun: float, cpu: str = "") -> float:
        took = time.perf_counter() - begun
        print(f"  {what:90} {took:7.2f} s{cpu}", flush=True)
        return took

    def cpu(self) -> dict[str, float]:
        """CPU seconds spent so far, by who spent them."""
        control = self.planes.control
        pids = {"PostgreSQL": self.postgres, "control plane": control.pid if control is not None else 0}
        pids.update((node.name, node.child.pid) for node in self.planes.nodes if node.child is not None)
        return {name: processes.cpu_s(processes.tree(pid)) for name, pid in pids.items()}

    def number(self, query: str) -> int:
        row = self.database.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])

    async def published(self) -> bool:
        """Every tenant's newest change is in a publication."""
        query = (
            "SELECT count(*) FROM publications AS p LEFT JOIN tenant_revisions AS r USING (tenant)"
            " WHERE p.generation > 0 AND p.revision >= coalesce(r.revision, 0)"
        )
        return self.number(query) >= self.count

    async def learnt(self) -> bool:
        done = self.number("SELECT count(*) FROM server_looks WHERE look ->> 'era' <> ''") >= self.count
        return done and await self.published()

    async def in_force(self, node: Node) -> bool:
        found = re.search(r"^toolgate_snapshot_tenants (\S+)$", await node.metrics(), re.MULTILINE)
        return found is not None and float(found[1]) == self.count


async def applied(timed: Timed, upstream_port: int) -> None:
    """All tenants declared and their tools learnt, as in life."""
    planes = timed.planes
    manifests = list(documents(timed.count, upstream_port))
    begun = time.perf_counter()
    await planes.apply("\n---\n".join(manifests))
    timed.say(f"`toolgate apply` of {len(manifests):,} resources", begun)
    await timed.step("until all that was published", timed.published)
    scout = await planes.node("scout")
    await timed.step(f"{timed.count:,} servers looked at, {TOOLS} tools of each learnt and published", timed.learnt)
    scout.stop()


async def restart_control_plane(timed: Timed, *, forget: bool) -> None:
    """From the start of the process until everything is published. `forget`: nothing was, before."""
    await stop_control_plane(timed, forget=forget)
    begun, before = time.perf_counter(), timed.cpu()["PostgreSQL"]
    timed.planes.start_control_plane()
    await timed.planes.control_plane_ready()
    timed.say("control plane: start of the process until ready", begun)
    await timed.until(timed.published)
    what = "until all was compiled, signed and stored" if forget else "until it was sure that all is published"
    timed.say(f"control plane: start of the process {what}", begun, spent(timed, {"PostgreSQL": before}))


async def stop_control_plane(timed: Timed, *, forget: bool) -> None:
    assert timed.planes.control is not None
    await asyncio.to_thread(timed.planes.control.stop, 15)
    timed.planes.control = None
    if forget:
        timed.number("WITH p AS (DELETE FROM publications), q AS (DELETE FROM parts) SELECT 1")
        timed.database.execute("CHECKPOINT")


async def both(timed: Timed) -> float:
    """Seconds from the start of both processes, one with nothing compiled, one with nothing at all, until in force."""
    await stop_control_plane(timed, forget=True)
    begun, before = time.perf_counter(), timed.cpu()["PostgreSQL"]
    timed.planes.start_control_plane()
    node = await timed.planes.node("first")
    timed.say("both started at once, nothing compiled: until the gateway was ready", begun)
    await timed.until(lambda: timed.in_force(node))
    what = f"both started at once, nothing compiled: until all {timed.count:,} tenants were in force"
    took = timed.say(what, begun, spent(timed, {"PostgreSQL": before}))
    await served(timed, node)
    timed.leave(node)
    return took


def spent(timed: Timed, before: dict[str, float]) -> str:
    """CPU of each since `before`, or since its start."""
    parts = [f"{name} {seconds - before.get(name, 0.0):.2f}" for name, seconds in timed.cpu().items()]
    return f"   CPU: {', '.join(parts)}"


async def fresh_gateway(timed: Timed, name: str, how: str) -> None:
    """From the start of the process until every tenant is in force."""
    begun, before = time.perf_counter(), timed.cpu()
    node = await timed.planes.node(name)
    timed.say(f"fresh gateway, {how}: start of the process until ready", begun)
    await timed.until(lambda: timed.in_force(node))
    what = f"fresh gateway, {how}: until all {timed.count:,} tenants were in force"
    timed.say(what, begun, spent(timed, before))
    await served(timed, node)
    assert node.child is not None
    print(f"  {'its supervisor then':90} {processes.rss_mib(node.child.pid):7.1f} MiB")
    node.stop()
    begun = time.perf_counter()
    node.start()
    await timed.until(lambda: timed.in_force(node))
    timed.say("the same gateway again, from its disk", begun)
    timed.leave(node)


async def served(timed: Timed, node: Node) -> None:
    """A call of the last tenant's agent goes through."""
    tenant = f"tenant-{timed.count - 1:05}"
    key = await timed.planes.key(tenant, node.name, agent="helper")
    deadline = time.monotonic() + 10
    while not (reply := await node.agent(key).call("echo", text="hello")).ok:
        if time.monotonic() > deadline:
            sys.exit(f"the fresh gateway does not serve {tenant}: {reply.status} {reply.body!r}")
        await asyncio.sleep(LOOK_EVERY_S)


async def measured(planes: Planes, options: argparse.Namespace, embedded: EmbeddedPostgres, vault: Vault) -> bool:
    with ExitStack() as stack:
        database = stack.enter_context(psycopg.connect(embedded.dsn(), autocommit=True))
        timed = Timed(planes, options.tenants, database, embedded.pid or 0)
        upstream_port = upstream_of(stack)
        if options.apply:
            await applied(timed, upstream_port)
        else:
            await asyncio.to_thread(restore, embedded.dsn(), vault, options.tenants, upstream_port)
        await restart_control_plane(timed, forget=True)
        size = timed.number("SELECT sum(length(data)) FROM parts")
        print(f"  snapshots: {size / 1e6:.0f} MB in {timed.number('SELECT count(*) FROM parts'):,} parts")
        await fresh_gateway(timed, "fresh", "parts in the control plane's memory")
        await restart_control_plane(timed, forget=False)
        await fresh_gateway(timed, "late", "parts in PostgreSQL only")
        whole = await both(timed)
    verdict = "met   " if whole <= LIMIT_S else "MISSED"
    print(f"  {verdict}  compiled from nothing and in force on a fresh gateway: {whole:.2f} s (at most {LIMIT_S:g} s)")
    return whole <= LIMIT_S


async def main(options: argparse.Namespace) -> bool:
    kek = secrets.token_bytes(KEY_BYTES)
    os.environ["TOOLGATE_KEK"] = base64.b64encode(kek).decode()
    with tempfile.TemporaryDirectory(prefix="toolgate-bench-") as folder:
        embedded = EmbeddedPostgres(Path(folder) / "postgres")
        await embedded.start()
        try:
            async with running(Path(folder), embedded.dsn()) as planes:
                print(f"{options.tenants:,} tenants of {TOOLS} tools")
                database = await Database.open(embedded.dsn())
                vault = Vault(AesGcmSealer(), KeyRing(kek), PostgresSealedValues(database))
                await database.close()
                return await measured(planes, options, embedded, vault)
        finally:
            await embedded.stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--apply", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(_options())) else 1)
