"""A whole node, from outside: what dies, what is replaced, what is kept, what is refused."""

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.resource import encode
from core.server import StdioTransport
from core.snapshot import Limits
from data_plane.telemetry.bounds import SUPERVISOR, WORKER
from tests.data_plane.node.gateway import (
    PLATFORM,
    Load,
    Node,
    Upstream,
    alive,
    children,
    cmdline,
    node,
    request,
    rss_mib,
    served,
    upstream,
)
from tests.harness.metrics import caps_told_wrong, undocumented

ELSEWHERE = frozenset(
    {"spans", "quota_leases", "quota_lease_waiters", "quota_lent"}
    | {f"fleet_{what}" for what in ("outbox", "bytes", "probes", "untold")}
)
"""What a node without Redis, collector and control plane does not have."""
IN_REDIS = frozenset(
    {"fleet_leases", "fleet_lease_waiters", "fleet_lent"}
    | {f"redis_{what}" for what in ("connections", "subscriptions", "commands", "command_bytes")}
)
CALL = {"name": "tool-0", "arguments": {}}
HELD = {"name": "tool-0", "arguments": {"hold": True}}


@pytest.fixture
def slow() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


def ok(node: Node, tenant: str = "acme", params: dict[str, object] | None = None) -> None:
    status, body = request(node.mcp_port, tenant, "tools/call", params or CALL)
    assert (status, "result" in body) == (200, True), body


def started(node: Node, update: object) -> Node:
    node.publish(update)
    node.start()
    node.until(node.ready, "the node is ready")
    return node


def test_a_call_is_answered_counted_logged_and_recorded_once(tmp_path: Path, slow: Upstream) -> None:
    with node(tmp_path, 2) as gateway:
        started(gateway, served("acme", upstream=slow.url))
        for _ in range(20):
            ok(gateway)
        series = 'toolgate_tool_calls_total{outcome="ok",server="srv",tenant="acme",tool="tool-0"}'
        gateway.until(lambda: gateway.metric(series) == 20, "20 calls are counted")
        gateway.until(lambda: len(gateway.records()) == 20, "20 records are kept")
        lines = [json.loads(line) for line in gateway.call_log.read_text().splitlines()]
        assert len({record["id"] for record in gateway.records()}) == len({line["id"] for line in lines}) == 20
        assert {(line["tenant"], line["tool"], line["outcome"], line["user"]) for line in lines} == {
            ("acme", "tool-0", "ok", "ann")
        }
        assert gateway.metric('toolgate_call_seconds_count{method="tools/call"}') == 20
        for what in ("tenants", "upstream_connections_idle"):
            series = [f'toolgate_held{{process="worker-{number}",what="{what}"}}' for number in (0, 1)]
            gateway.until(lambda series=series: any(map(gateway.metric, series)), f"{what} are held")
        page = gateway.page()
        assert undocumented(page, "data_plane", "adapters") == []
        for number in (0, 1):
            assert caps_told_wrong(page, f"worker-{number}", WORKER, absent=frozenset({"grpc_stream_bytes"})) == []
        assert caps_told_wrong(page, "supervisor", SUPERVISOR, absent=ELSEWHERE | IN_REDIS) == []
        assert gateway.stop() == 0


def test_a_node_is_not_ready_before_it_has_a_snapshot_and_says_so(tmp_path: Path, slow: Upstream) -> None:
    with node(tmp_path, 1) as gateway:
        tenants = gateway.folder / "tenants"
        tenants.rmdir()
        gateway.start()
        status, body = gateway.get("/readyz")
        assert (status, json.loads(body)) == (503, {"status": "not ready", "reasons": ["no snapshot in force"]})
        assert gateway.get("/healthz")[0] == 200
        tenants.mkdir()
        gateway.publish(served("acme", upstream=slow.url))
        gateway.until(gateway.ready, "it is ready with one")
        ok(gateway)
        assert gateway.stop() == 0


def test_a_killed_worker_is_replaced_and_its_records_survive(tmp_path: Path, slow: Upstream) -> None:
    with node(tmp_path, 2) as gateway:
        started(gateway, served("acme", upstream=slow.url))
        for _ in range(30):
            ok(gateway)
        before = gateway.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        # What is serving may be last second's news; what was replaced is not.
        gateway.until(lambda: gateway.metric("toolgate_worker_restarts_total") == 2, "both are replaced")
        gateway.until(lambda: gateway.metric("toolgate_workers_serving") == 2, "both serve")
        assert not set(gateway.workers()) & set(before)
        ok(gateway)
        gateway.until(lambda: len({record["id"] for record in gateway.records()}) == 31, "all records are kept")
        assert gateway.metric("toolgate_worker_restarts_total") == 2
        assert gateway.stop() == 0
        assert list((gateway.data_dir / "spool").glob("*.seg")) == []


def test_a_connection_that_waits_at_a_dead_worker_is_answered_by_its_successor(tmp_path: Path, slow: Upstream) -> None:
    with node(tmp_path, 1) as gateway:
        started(gateway, served("acme", upstream=slow.url))
        (worker,) = gateway.workers()
        os.kill(worker, signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(request, gateway.mcp_port, "acme", "tools/call", CALL) for _ in range(8)]
            gateway.until(lambda: queued(gateway.mcp_port) == 8, "the connections wait")
            os.kill(worker, signal.SIGKILL)
            assert [call.result(15)[0] for call in calls] == [200] * 8


def queued(port: int) -> int:
    """Connections that wait to be accepted on a port: a listening socket's receive queue."""
    waiting = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
            waiting += int(fields[4].rsplit(":", 1)[1], 16)
    return waiting


def test_a_killed_supervisor_leaves_no_process_and_loses_no_record(tmp_path: Path, slow: Upstream) -> None:
    script = tmp_path / "server.py"
    script.write_text(STDIO_SERVER)
    transport = StdioTransport(command=[sys.executable, str(script)])
    with node(tmp_path, 2) as gateway:
        started(gateway, served("acme", transport=transport))
        for _ in range(12):
            ok(gateway)
        assert gateway.process is not None
        family = descendants(gateway.process.pid)
        assert len(family) >= 3, "two workers and a stdio server"
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait(5)
        deadline = time.monotonic() + 5
        while any(map(alive, family)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [pid for pid in family if alive(pid)] == []
        gateway.start()
        gateway.until(lambda: len({record["id"] for record in gateway.records()}) == 12, "all records are kept")
        ok(gateway)
        assert gateway.stop() == 0


def descendants(pid: int) -> set[int]:
    found = set(children(pid))
    for child in list(found):
        found |= descendants(child)
    return found


STDIO_SERVER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    method, result = message["method"], {}
    if method == "server/discover":
        result = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "s", "version": "1"}}
    elif method == "tools/call":
        result = {"resultType": "complete", "content": [{"type": "text", "text": "from the child"}]}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def test_a_term_signal_finishes_what_is_in_flight_and_exits_well(tmp_path: Path, slow: Upstream) -> None:
    with node(tmp_path, 2) as gateway:
        started(gateway, served("acme", upstream=slow.url))
        family = descendants(gateway.process.pid)
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(request, gateway.mcp_port, "acme", "tools/call", HELD) for _ in range(6)]
            for _ in calls:
                assert slow.held.acquire(timeout=10)
            gateway.process.send_signal(signal.SIGTERM)
            gateway.until(lambda: not gateway.ready(), "it is not ready while it drains")
            gateway.until(lambda: refuses(gateway.mcp_port), "it takes no new connection")
            slow.let_go.set()
            assert [call.result(15)[0] for call in calls] == [200] * 6
        assert gateway.process.wait(15) == 0
        assert len(gateway.records()) == 6
        assert [pid for pid in family if alive(pid)] == []


def refuses(port: int) -> bool:
    with contextlib.closing(socket.socket()) as sock:
        sock.settimeout(0.2)
        return sock.connect_ex(("127.0.0.1", port)) != 0


def test_a_term_signal_under_load_fails_no_call(tmp_path: Path, slow: Upstream) -> None:
    with node(tmp_path, 2) as gateway:
        started(gateway, served("acme", upstream=slow.url))
        loads = [Load(gateway.mcp_port, "acme", "tools/list") for _ in range(8)]
        for load in loads:
            load.start()
        gateway.until(lambda: all(load.answered > 50 for load in loads), "there is load")
        assert gateway.stop() == 0
        for load in loads:
            load.stop()
        assert [load.failures for load in loads] == [[]] * 8
        assert len({record["id"] for record in gateway.records()}) == sum(load.answered for load in loads)


def test_a_second_signal_ends_it_at_once(tmp_path: Path, slow: Upstream) -> None:
    with node(tmp_path, 1) as gateway:
        started(gateway, served("acme", upstream=slow.url))
        family = descendants(gateway.process.pid)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            call = pool.submit(request, gateway.mcp_port, "acme", "tools/call", HELD)
            assert slow.held.acquire(timeout=10)
            gateway.process.send_signal(signal.SIGTERM)
            gateway.until(lambda: not gateway.ready(), "it drains")
            began = time.monotonic()
            assert gateway.stop(signal.SIGINT) == 1
            assert time.monotonic() - began < 5
            assert call.exception(10) is not None
        assert [pid for pid in family if alive(pid)] == []


def test_without_a_source_it_serves_what_is_on_disk_and_refuses_what_was_tampered_with(
    tmp_path: Path, slow: Upstream
) -> None:
    with node(tmp_path, 1) as gateway:
        for tenant in ("acme", "other"):
            gateway.publish(served(tenant, upstream=slow.url))
        gateway.start()
        gateway.until(lambda: gateway.metric("toolgate_snapshot_tenants") == 2, "both are in force")
        assert gateway.stop() == 0
        for path in (gateway.folder / "tenants").iterdir():
            path.unlink()
        (gateway.folder / "tenants").rmdir()
        stored = gateway.data_dir / "tenants" / "acme.json"
        stored.write_bytes(re.sub(rb'"signature":"...', b'"signature":"AAA', stored.read_bytes()))
        gateway.start()
        gateway.until(gateway.ready, "it is ready from disk")
        ok(gateway, "other")
        assert request(gateway.mcp_port, "acme", "tools/call", CALL)[0] == 401
        assert gateway.metric("toolgate_snapshot_refused_on_disk") == 1
        assert "acme" in gateway.log.read_text()
        gateway.stop()
        (pack,) = (gateway.data_dir / "parts").iterdir()
        module = PLATFORM.read_bytes()
        assert module in pack.read_bytes()
        pack.write_bytes(pack.read_bytes().replace(module, module[:-1] + b"\0"))
        gateway.start()
        assert request(gateway.mcp_port, "other", "tools/call", CALL)[0] == 401
        assert not gateway.ready()


def test_a_new_snapshot_is_served_by_all_workers_and_a_bad_one_changes_nothing(tmp_path: Path, slow: Upstream) -> None:
    with node(tmp_path, 2) as gateway:
        started(gateway, served("acme", upstream=slow.url))

        def tools() -> set[int]:
            answers = [request(gateway.mcp_port, "acme", "tools/list") for _ in range(12)]
            return {len(body["result"]["tools"]) for _, body in answers}

        assert tools() == {2}
        gateway.publish(served("acme", 2, upstream=slow.url, tool_count=3))
        gateway.until(lambda: gateway.metric("toolgate_snapshot_generation") == 2, "it is in force")
        assert tools() == {3}
        gateway.publish(served("acme", 3, upstream=slow.url, tool_count=4, policy_module=b"\0asm no policy"))
        gateway.until(lambda: gateway.metric("toolgate_snapshot_nacks_total") == 1, "it is refused")
        assert tools() == {3}
        assert gateway.metric("toolgate_snapshot_generation") == 2
        gateway.publish(served("acme", 4, upstream=slow.url, tool_count=5))
        gateway.until(lambda: gateway.metric("toolgate_snapshot_generation") == 4, "the next good one is taken")
        assert tools() == {5}
        (gateway.folder / "tenants" / "acme.json").unlink()
        gateway.until(lambda: gateway.metric("toolgate_snapshot_tenants") == 0, "it is withdrawn")
        assert request(gateway.mcp_port, "acme", "tools/list")[0] == 401


def test_no_call_fails_while_snapshots_are_replaced(tmp_path: Path, slow: Upstream) -> None:
    with node(tmp_path, 2) as gateway:
        started(gateway, served("acme", upstream=slow.url))
        loads = [Load(gateway.mcp_port, "acme", "tools/list") for _ in range(4)]
        for load in loads:
            load.start()
        for generation in range(2, 12):
            gateway.publish(served("acme", generation, upstream=slow.url))
            gateway.until(
                lambda generation=generation: gateway.metric("toolgate_snapshot_generation") == generation, "in force"
            )
        for load in loads:
            load.stop()
        assert [load.failures for load in loads] == [[]] * 4
        assert all(load.answered for load in loads)


def test_a_limit_is_exact_over_two_workers(tmp_path: Path, slow: Upstream) -> None:
    from core.limits import Bucket
    from core.snapshot import CompiledLimit

    limit = CompiledLimit(
        name="cap", bucket=Bucket(rate_per_s=1e-6, burst=40), per=("tenant",), tools=("*",), endpoints=("*",),
        scope="fleet", on_error="deny",
    )  # fmt: skip
    with node(tmp_path, 2) as gateway:
        started(gateway, served("acme", upstream=slow.url, limits=encode(Limits((limit,)))))
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            calls = [pool.submit(request, gateway.mcp_port, "acme", "tools/call", CALL) for _ in range(80)]
            granted = sum("result" in call.result(15)[1] for call in calls)
        assert granted <= 40
        deadline = time.monotonic() + 10
        while granted < 40 and time.monotonic() < deadline:
            # What a worker holds in its slice and does not spend comes back to the node after a while.
            granted += "result" in request(gateway.mcp_port, "acme", "tools/call", CALL)[1]
        assert granted == 40


def test_so_many_calls_run_at_once_over_two_workers_and_a_dead_worker_holds_none(
    tmp_path: Path, slow: Upstream
) -> None:
    from core.concurrency import Rules
    from core.snapshot import CompiledConcurrency

    limit = CompiledConcurrency(
        name="few", life="1", rules=Rules(2, 1, 60.0, ()), per=("tenant",), tools=("*",), endpoints=("*",)
    )
    with node(tmp_path, 2) as gateway, concurrent.futures.ThreadPoolExecutor(8) as pool:
        started(gateway, served("acme", upstream=slow.url, limits=encode(Limits((), (limit,)))))
        running = [pool.submit(request, gateway.mcp_port, "acme", "tools/call", HELD) for _ in range(2)]
        for _ in running:
            assert slow.held.acquire(timeout=10)
        waiting = pool.submit(request, gateway.mcp_port, "acme", "tools/call", HELD)
        depth = 'toolgate_held{process="supervisor",what="turns_waiting"}'
        gateway.until(lambda: gateway.metric(depth) == 1, "it waits")
        for _ in range(4):
            status, answer = request(gateway.mcp_port, "acme", "tools/call", CALL)
            assert status == 429, answer
            assert "Too many calls at once" in answer["error"]["message"]  # type: ignore[index]
        assert not slow.held.acquire(blocking=False)
        for pid in gateway.workers():
            os.kill(pid, signal.SIGKILL)
        for call in (*running, waiting):
            assert call.exception(10) is not None
        gateway.until(lambda: gateway.metric("toolgate_workers_serving") == 2, "both are replaced")
        assert gateway.metric('toolgate_held{process="supervisor",what="turns"}') == 0
        assert gateway.metric(depth) == 0
        slow.let_go.set()
        ok(gateway)
        assert gateway.metric('toolgate_turns_refused_total{class="0",why="full"}') == 4


def test_a_stdio_server_is_one_child_for_all_workers_and_outlives_them(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(STDIO_SERVER)
    with node(tmp_path, 2) as gateway:
        started(gateway, served("acme", transport=StdioTransport(command=[sys.executable, str(script)])))
        for _ in range(16):
            ok(gateway)
        child = [pid for pid in children(gateway.process.pid) if str(script).encode() in cmdline(pid)]
        assert len(child) == 1
        for pid in gateway.workers():
            os.kill(pid, signal.SIGKILL)
        gateway.until(lambda: gateway.metric("toolgate_workers_serving") == 2, "both are replaced")
        for _ in range(8):
            ok(gateway)
        assert alive(child[0])
        assert gateway.metric("toolgate_stdio_children") == 1
        assert gateway.stop() == 0
        assert not alive(child[0])


def test_two_nodes_do_not_share_a_folder_or_a_port(tmp_path: Path) -> None:
    with node(tmp_path / "a", 1) as gateway:
        started(gateway, served("acme"))
        with node(tmp_path / "a", 1) as second, pytest.raises(AssertionError, match="in use by another gateway"):
            second.start()
        assert second.process is not None
        assert second.process.returncode == 4
        with (
            node(tmp_path / "b", 1, "--mcp-port", str(gateway.mcp_port)) as third,
            pytest.raises(AssertionError, match="cannot listen"),
        ):
            third.start()
        assert third.process is not None
        assert third.process.returncode == 4
        assert gateway.ready()


@pytest.mark.parametrize("content", [b"", b"AAAA", b"\xff\xfe"])
def test_a_damaged_key_is_named_and_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    with node(tmp_path / "a", 1) as gateway:
        (gateway.data_dir / "node.key").write_bytes(content)
        with pytest.raises(AssertionError, match=r"node\.key does not hold a key, .* remove it"):
            gateway.start()
        assert "Traceback" not in gateway.log.read_text()


def test_memory_after_start_is_small(tmp_path: Path, slow: Upstream) -> None:
    with node(tmp_path, 1) as gateway:
        started(gateway, served("acme", upstream=slow.url))
        ok(gateway)
        worker, supervisor = rss_mib(gateway.workers()[0]), rss_mib(gateway.process.pid)
        print(f"worker {worker:.1f} MiB, supervisor {supervisor:.1f} MiB")
        assert worker < 100
        assert supervisor < 80
