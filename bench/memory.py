"""Memory of a gateway node over its life: after start, over calls, sessions dropped and connections that vanish.

`python -m bench.memory [--calls 250000] [--sessions 10000] [--silent 400]`. Both planes as `toolgate up` starts them,
one worker. Every figure is resident memory in MiB (PostgreSQL's proportional, as its processes share buffers). Exits 1
when a target is missed.
"""

import argparse
import re
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg

from adapters.postgres.embedded import EmbeddedPostgres
from bench import call, processes, sessions

WORKER_MIB = 100.0
SUPERVISOR_MIB = 80.0
FLAT = 0.05
EVERY_S = 2.0
CONNECTIONS = 64
LET_GO_S = 120.0
"""Longer than the longest a connection may be silent."""
STORED_S = 60.0
SETTLED_CALLS = 100_000
"""Memory after so many is what later memory is compared with."""

_CALLS = re.compile(r'^toolgate_calls_total\{.*method="tools/call".*outcome="ok".*\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """The node and its control plane at one moment; memory in MiB."""

    calls: int
    supervisor: float
    worker: float
    control_plane: float
    postgres: float
    spool: float
    """Records not yet stored by the control plane, MiB."""
    behind_s: float
    """Age of the oldest of them."""


class Node:
    """The processes of a running `Bench`."""

    def __init__(self, bench: call.Bench) -> None:
        self.bench = bench
        self.supervisor = bench.gateway_pid
        everything = {pid: processes.command_line(pid) for pid in processes.tree(bench.up.pid)}
        self.worker = next(pid for pid, line in everything.items() if "data_plane.worker_main" in line)
        self.control_plane = next(pid for pid, line in everything.items() if " control-plane " in line)

    def metrics(self) -> str:
        with urllib.request.urlopen(self.bench.connection["metrics_url"]) as answer:
            return answer.read().decode()

    def sample(self) -> Sample:
        text = self.metrics()
        postgres = [pid for pid in processes.tree(self.control_plane) if "postgres" in processes.command_line(pid)]
        return Sample(
            calls=int(sum(float(number) for number in _CALLS.findall(text))),
            supervisor=processes.rss_mib(self.supervisor),
            worker=processes.rss_mib(self.worker),
            control_plane=processes.rss_mib(self.control_plane),
            postgres=sum(map(processes.pss_mib, postgres)),
            spool=_gauge(text, "toolgate_spool_bytes") / 2**20,
            behind_s=_gauge(text, "toolgate_spool_oldest_seconds"),
        )

    def connections(self) -> int:
        return int(_gauge(self.metrics(), "toolgate_connections"))

    def stored(self) -> int:
        """Successful calls in the tenant's audit chain."""
        with psycopg.connect(_dsn(self.bench)) as database:
            query = "SELECT count(*) FROM audit WHERE tenant = 'bench' AND tool = 'echo' AND outcome = 'ok'"
            row = database.execute(query).fetchone()
        assert row is not None
        return int(row[0])


def _gauge(text: str, name: str) -> float:
    return sum(float(number) for number in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


def _dsn(bench: call.Bench) -> str:
    return EmbeddedPostgres(bench.folder / "data/control-plane/postgres").dsn()


def show(name: str, at: Sample) -> None:
    figures = (at.supervisor, at.worker, at.control_plane, at.postgres, at.spool, at.behind_s)
    print(f"{name:42}" + "".join(f"{figure:12.1f}" for figure in figures), flush=True)


def under_load(node: Node, calls: int) -> list[Sample]:
    """Samples while `wrk` calls, until there were that many."""
    script = call.wrk_script(node.bench.folder / "memory.lua", "modern", node.bench.key, "")
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d24h", "-s", str(script), node.bench.url]
    before = node.sample().calls
    samples: list[Sample] = []
    marks = [calls // 10 * step for step in range(1, 11)]
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
        while not samples or samples[-1].calls - before < calls:
            time.sleep(EVERY_S)
            samples.append(node.sample())
            if marks and samples[-1].calls - before >= marks[0]:
                show(f"  at {samples[-1].calls - before:,} calls", samples[-1])
                marks = [mark for mark in marks if mark > samples[-1].calls - before]
            if wrk.poll() is not None:
                sys.exit("wrk ended early")
        wrk.send_signal(signal.SIGINT)
        out, _ = wrk.communicate()
    took = time.monotonic() - begun
    result = re.search(r"RESULT (\d+) \d+ (\d+)", out)
    if result is None or result[2] != "0":
        sys.exit(f"calls failed: {out}")
    print(f"  {int(result[1]):,} calls, {int(result[1]) / took:,.0f} a second, none failed")
    return samples


def until_stored(node: Node) -> tuple[Sample, float]:
    """The node once every record is with the control plane, and how long that took."""
    begun = time.monotonic()
    while (now := node.sample()).spool and time.monotonic() - begun < STORED_S:
        time.sleep(0.1)
    return now, time.monotonic() - begun


def database_size(bench: call.Bench) -> str:
    with psycopg.connect(_dsn(bench)) as database:
        row = database.execute(
            "SELECT pg_database_size(current_database()) / 1048576.0, sum(pg_table_size(relid)) / 1048576.0,"
            " sum(pg_indexes_size(relid)) / 1048576.0, (SELECT count(*) FROM audit)"
            " FROM pg_partition_tree('audit') WHERE isleaf"
        ).fetchone()
    assert row is not None
    whole, table, indexes, rows = map(float, row)
    logs = sum(path.stat().st_size for path in Path(bench.folder / "data/logs").glob("*")) / 2**20
    each = (table + indexes) * 2**20 / max(rows, 1)
    return (
        f"PostgreSQL: {whole:,.0f} MiB on disk, {table:,.0f} of them {rows:,.0f} audit rows and {indexes:,.0f} their "
        f"indexes ({each:.0f} bytes a row); logs {logs:,.0f} MiB"
    )


class Targets:
    """What must hold, said as it is found."""

    def __init__(self) -> None:
        self.missed = 0

    def check(self, what: str, value: float, most: float, unit: str) -> None:
        met = value <= most
        self.missed += not met
        print(f"  {'met   ' if met else 'MISSED'}  {what}: {value:.1f}{unit} (at most {most:g}{unit})")


def drift(settled: float, later: list[float]) -> float:
    """The largest change against `settled`, in percent, up or down."""
    return max(abs(value - settled) / settled for value in later) * 100


def judge(start: Sample, settled: Sample, later: list[Sample], lost: int, left: int) -> int:
    """Prints every target; how many are missed."""
    targets = Targets()
    targets.check("a worker after start", start.worker, WORKER_MIB, " MiB")
    targets.check("the supervisor after start", start.supervisor, SUPERVISOR_MIB, " MiB")
    for name in ("worker", "supervisor", "control_plane"):
        change = drift(getattr(settled, name), [getattr(sample, name) for sample in later])
        targets.check(f"drift of the {name.replace('_', ' ')}", change, FLAT * 100, " %")
    targets.check("records that are not in the audit log", lost, 0, "")
    targets.check("connections still held", left, 0, "")
    return targets.missed


def measure(node: Node, calls: int, opened: int, silent: int) -> int:
    """Everything in order; how many targets are missed."""
    columns = ("supervisor", "worker", "control pl.", "PostgreSQL", "spool", "behind, s")
    print(f"{'MiB':42}" + "".join(f"{column:>12}" for column in columns))
    start = node.sample()
    show("after start and one call", start)
    samples = under_load(node, calls)
    settled = next(sample for sample in samples if sample.calls >= SETTLED_CALLS)
    now, took = until_stored(node)
    show(f"after {now.calls:,} calls, records stored in {took:.1f} s", now)
    lost = now.calls - node.stored()
    print(f"  {database_size(node.bench)}")
    later = [sample for sample in samples if sample.calls > settled.calls] + [now]
    rate = sessions.open_and_drop(node.bench.url, node.bench.key, opened)
    later.append(until_stored(node)[0])
    show(f"after {opened:,} sessions, {rate:,.0f} a second", later[-1])
    took = sessions.fall_silent(node.bench.url, node.bench.key, silent, node.connections, LET_GO_S)
    left = node.connections()
    later.append(until_stored(node)[0])
    show(f"after {silent:,} silent connections, gone in {took:.0f} s", later[-1])
    return judge(start, settled, later, lost, left)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=250_000)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--silent", type=int, default=400)
    options = parser.parse_args()
    if options.calls <= SETTLED_CALLS:
        parser.error(f"--calls: must be above {SETTLED_CALLS}")
    with ExitStack() as stack:
        missed = measure(Node(call.Bench(stack)), options.calls, options.sessions, options.silent)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
