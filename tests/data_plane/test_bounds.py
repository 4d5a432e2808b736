"""What has a cap says how full it is, and counts each time the cap was met: of every kind, met for real."""

import asyncio
import socket
from pathlib import Path

import pytest

from adapters.memory.counters import MemoryCounters
from adapters.otel.spans import WAITING_MAX, Spans
from adapters.wasmtime.policy import WasmPolicyEngine
from core.bound import Bound, Hits
from core.call import Record
from core.errors import Unavailable
from core.limits import Bucket
from core.server import HttpTransport
from data_plane.fronts.server_options import ServerOptions
from data_plane.fronts.serving import serve
from data_plane.fronts.streamable_http import FrontOptions
from data_plane.leases import Leases
from data_plane.leaving import Leaving
from data_plane.snapshots import TenantSnapshot
from data_plane.stages.policy import _Kept
from data_plane.supervisor.ops import CONNECTIONS_MAX, Ops, Readiness
from data_plane.supervisor.stdio import StdioLimits, StdioServers
from data_plane.telemetry.bounds import SUPERVISOR, WORKER, rows
from data_plane.tenants import Pointer, Tenants
from data_plane.upstreams.mcp_http import HttpBackend
from tests.data_plane.fronts.front_harness import modern, serving
from tests.data_plane.stages.builders import snapshot
from tests.data_plane.upstreams.test_pool import Gate
from tests.data_plane.upstreams.test_stdio import program, run
from tests.harness.upstream_raw import scripted
from tests.harness.upstream_route import ECHO, over_http, route_to

ROOT = Path(__file__).parents[2]


def test_each_bound_is_three_rows_of_one_process() -> None:
    shown = [(row.name, row.value, row.labels, row.counter) for row in rows("worker-0", {"leases": Bound(3, 10, 2)})]
    labels = (("process", "worker-0"), ("what", "leases"))
    assert shown == [
        ("toolgate_held", 3, labels, False),
        ("toolgate_cap", 10, labels, False),
        ("toolgate_cap_hits", 2, labels, True),
    ]


def test_nothing_is_told_twice() -> None:
    for kept in (WORKER, SUPERVISOR):
        names = [one.what for one in kept]
        assert len(set(names)) == len(names)


async def test_tenants_let_go_are_counted() -> None:
    async def load(_tenant: str, _pointer: Pointer) -> TenantSnapshot:
        return snapshot()

    tenants = Tenants(load, 2)
    for name in ("a", "b", "c"):
        tenants.point(name, Pointer(1, b"x"))
        await tenants.current(name)
    assert tenants.bound == Bound(2, 2, 1)


def test_decisions_forgotten_are_counted_beyond_the_life_of_their_tenant() -> None:
    full = Hits()
    for _ in range(2):
        kept = _Kept[int, int](3, full)
        for number in range(5):
            kept.put(number, number, float("inf"))
        assert len(kept) == 3
    assert full.count == 4


async def test_limits_and_slices_forgotten_are_counted() -> None:
    counters = MemoryCounters(lambda: 0.0, max_keys=5)
    leases = Leases(counters, max_keys=3)
    for number in range(8):
        await leases.take(f"node/deny/{number}", Bucket(rate_per_s=1, burst=100))
    assert leases.bounds()["leases"] == Bound(3, 3, 5)
    assert counters.bound == Bound(5, 5, 3)
    await leases.close()


def test_policies_put_to_sleep_are_counted() -> None:
    module = (ROOT / "control_plane/policies/platform.wasm").read_bytes()
    with WasmPolicyEngine(live_cap=2) as engine:
        policies = [engine.prepare(module, b'{"roles":{}}', ()) for _ in range(5)]
        guests = engine.bounds()["policy_guests"]
        assert (guests.held, guests.cap) == (2, 2)
        assert guests.hits == 3
        assert engine.bounds()["policy_modules"] == Bound(1, 64)
        del policies


async def test_a_pool_counts_who_waited_and_who_waited_in_vain() -> None:
    backend, gate = HttpBackend(), Gate()
    gate.wanted = 2
    try:
        async with scripted(gate.script) as server:
            transport: HttpTransport = over_http(server.url, max_connections=2)
            patient, hasty = route_to(transport), route_to(transport, deadline_s=0.2)
            calls = [asyncio.ensure_future(backend.call(patient, ECHO, lambda _: None)) for _ in range(3)]
            async with asyncio.timeout(5):
                await gate.enough.wait()
            with pytest.raises(Unavailable):
                await backend.call(hasty, ECHO, lambda _: None)
            held = backend.bounds()
            assert held["upstream_connections_in_use"] == Bound(2, 2, 2)
            assert (held["upstream_waiters"].held, held["upstream_waiters"].hits) == (1, 1)
            backend.retire("acme", "upstream")
            assert backend.bounds()["upstream_connections_in_use"].hits == 2  # Counted on, without the server.
            gate.opened.set()
            await asyncio.gather(*calls, return_exceptions=True)
    finally:
        await backend.close()


async def test_connections_and_large_bodies_turned_away_are_counted() -> None:
    async with serving(FrontOptions(max_buffered_bytes=200_000)) as site:
        reply = await site.post(modern(params={"name": "echo", "arguments": {"text": "x" * 600_000}}))
        assert reply.status == 503
        assert site.front.bounds()["body_bytes"] == Bound(0, 200_000, 1)
    refused, stop = Hits(), asyncio.Event()
    listening = socket.socket(fileno=socket.create_server(("127.0.0.1", 0)).detach())
    port = listening.getsockname()[1]
    served = asyncio.ensure_future(
        serve(Leaving(site.front), [listening], ServerOptions(max_connections=1, drain_s=0.1), stop, refused=refused)
    )
    kept = await asyncio.open_connection("127.0.0.1", port)
    extra = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(5):
        assert b" 503 " in await extra[0].read()
    assert refused.count == 1
    for _, writer in (kept, extra):
        writer.close()
    stop.set()
    await served


async def test_scrapers_turned_away_are_counted() -> None:
    ops = Ops(lambda: b"", Readiness)
    listening = socket.create_server(("127.0.0.1", 0), backlog=2 * CONNECTIONS_MAX)
    serving_ops = asyncio.ensure_future(ops.serve(listening))
    port = listening.getsockname()[1]
    open_now = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX + 1)]
    async with asyncio.timeout(5):
        while not ops.bound.hits:
            await asyncio.sleep(0)
        assert ops.bound.hits == 1
        for _, writer in open_now:
            writer.close()
        while ops.bound.held:
            await asyncio.sleep(0)
    serving_ops.cancel()
    await asyncio.gather(serving_ops, return_exceptions=True)


def test_spans_without_room_are_counted() -> None:
    spans = Spans("http://unused", node="n1", version="1")
    for _ in range(WAITING_MAX + 3):
        spans.add(Record(id="c", at_unix=1.0, trace_id="ab" * 16, span_id="cd" * 8, outcome="ok", method="ping"))
    assert spans.bound == Bound(WAITING_MAX, WAITING_MAX, 3)


async def test_children_refused_lines_dropped_and_starts_are_counted() -> None:
    servers = StdioServers(StdioLimits(max_children=1, evict_s=60))
    try:
        await run(servers, "complain", {"text": "\n".join(["x"] * 400)}, server="one")
        with pytest.raises(Unavailable):
            await run(servers, "echo", server="two")
        assert servers.bounds()["stdio_children"] == Bound(1, 1, 1)
        async with asyncio.timeout(5):
            while servers.bounds()["stdio_stderr"].hits < 100:
                await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await run(servers, "crash", server="one", transport=program())
        await run(servers, "echo", server="one")
        history = servers.histories()["acme", "one"]
        assert (history.starts, history.failures) == (2, 1)
    finally:
        await servers.close()
