"""What each transport costs: CPU of the gateway's process tree per governed `tools/call`, way by way in and out.

    python -m bench.transports [--rounds 5] [--seconds 1] [--lines 32] [--only TEXT]

Both planes as `toolgate up` starts them, one worker, policy, guards and limits as in bench/call.py. All ways are opened
first; then each has a short slice, in an order that changes every round, so that what else the machine does hits all
of them alike. Every answer is checked; one that is no success ends the run.
"""

import argparse
import asyncio
import random
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import uvloop

from bench import call, processes, ways_in
from bench.ways_in import Load, at

BATCH = 20
BRIDGES = 4
CHILD = "bench.upstream_ways"
"""In the command line of the server that the gateway starts itself: its CPU is not the gateway's."""
LISTENING = ("legacy", "telling", "sse", "websocket")
SERVERS = """
{{kind: Server, tenant: bench, name: legacy, spec: {{transport: {{
  type: http, url: "http://127.0.0.1:{legacy}/mcp", allow_private: true}}}}}}
---
{{kind: Server, tenant: bench, name: telling, spec: {{transport: {{
  type: http, url: "http://127.0.0.1:{telling}/mcp", allow_private: true}}}}}}
---
{{kind: Server, tenant: bench, name: sse, spec: {{transport: {{
  type: sse, url: "http://127.0.0.1:{sse}/sse", allow_private: true}}}}}}
---
{{kind: Server, tenant: bench, name: websocket, spec: {{transport: {{
  type: websocket, url: "ws://127.0.0.1:{websocket}/ws", allow_private: true}}}}}}
---
{{kind: Server, tenant: bench, name: stdio, spec: {{transport: {{
  type: stdio, command: ["{python}", -m, {child}, stdio], env: {{PYTHONPATH: "{root}"}}}}}}}}
"""
ENDPOINT = """---
{{kind: Endpoint, tenant: bench, name: {name}, spec: {{members: [{{server: {name}}}]}}}}
"""


class Way(NamedTuple):
    name: str
    load: Load
    beside: list[int] = []  # noqa: RUF012 - never changed
    """Processes whose CPU is told apart: those of the bridges."""


class Slice(NamedTuple):
    """Microseconds a call, of the gateway and of what is beside it, and calls a second."""

    gateway_us: float
    beside_us: float
    per_s: float


def serve(stack: ExitStack, bench: call.Bench) -> None:
    """A server and an endpoint of its own for every way out."""
    ports: dict[str, str] = {}
    for kind in LISTENING:
        command = (sys.executable, "-m", CHILD, kind)
        _, line = stack.enter_context(processes.child(*command, ready="ready"))
        ports[kind] = line.split()[1]
    text = SERVERS.format(python=sys.executable, child=CHILD, root=call.ROOT, **ports)
    text += "".join(ENDPOINT.format(name=name) for name in (*LISTENING, "stdio"))
    manifest = bench.folder / "ways.yaml"
    manifest.write_text(text)
    call.toolgate("apply", "-f", str(manifest), *bench.flag)


async def until_called(url: str, key: str) -> None:
    """The tool of an endpoint just declared answers."""
    async with asyncio.timeout(60):
        while True:
            wire = await ways_in.wire(url)
            request = ways_in.sessions.request(url, call.headers("modern", key), call.body("modern").encode())
            wire.transport.write(request)
            answer = await wire.until(ways_in.http_whole)
            wire.transport.close()
            if answer.startswith(b"HTTP/1.1 200") and ways_in.is_success(answer):
                return
            await asyncio.sleep(0.2)


async def ways(bench: call.Bench, lines: int, wanted: Callable[[str], bool]) -> list[Way]:
    """Every one that is wanted, open."""
    url, key, found = at(bench.url, "mcp", "default"), bench.key, list[Way]()
    for endpoint in (*LISTENING, "stdio"):
        await until_called(at(url, "mcp", endpoint), key)
    sent = {era: call.headers(era, key, call.initialize(url, key)) for era in ("modern", "legacy")}
    told = {**sent, "legacy": call.headers("legacy", key, call.initialize(at(url, "mcp", "telling"), key))}
    plain = {name: sent["modern"][name] for name in ("Authorization", "Content-Type")}
    for era, revision in (("modern", "2026-07-28"), ("legacy", "2025-11-25")):
        if wanted(name := f"in: Streamable HTTP, {revision}"):
            body = call.body(era).encode()
            found.append(Way(name, ways_in.http(url, sent[era], body, lines, Load())))
        if wanted(name := f"in: its event stream with progress, {revision}"):
            body, load = ways_in.with_progress(era), Load(must_hold=b"notifications/progress")
            found.append(Way(name, ways_in.http(at(url, "mcp", "telling"), told[era], body, lines, load)))
        if wanted(name := f"in: WebSocket, {revision}"):
            found.append(Way(name, await ways_in.websocket(at(url, "ws", "default"), key, era, lines)))
        if wanted(name := f"in: toolgate stdio, {revision}"):
            load, bridges = await ways_in.stdio(url, key, era, BRIDGES, lines // BRIDGES)
            found.append(Way(name, load, [bridge.process.get_pid() for bridge in bridges]))
    if wanted(name := "in: HTTP+SSE, 2024-11-05"):
        found.append(Way(name, await ways_in.sse(at(url, "sse", "default"), key, lines)))
    rpc = at(url, "rpc", "default")
    if wanted(name := "in: /rpc"):
        found.append(Way(name, ways_in.http(rpc, plain, call.body("legacy").encode(), lines, Load())))
    if wanted(name := f"in: /rpc/batch of {BATCH}, each entry"):
        load = Load(entries=BATCH)
        found.append(Way(name, ways_in.http(f"{rpc}/batch", plain, ways_in.batch(BATCH), lines, load)))
    if wanted(name := "in: gRPC, unary"):
        load, target = Load(), bench.connection["agent_grpc_target"]
        load.lines = [ways_in.GrpcLine(load, target, key) for _ in range(lines)]
        found.append(Way(name, load))
    for endpoint, name in (
        ("legacy", "out: Streamable HTTP, 2025-11-25"),
        ("sse", "out: HTTP+SSE, 2024-11-05"),
        ("websocket", "out: WebSocket, 2026-07-28"),
        ("stdio", "out: stdio, 2026-07-28"),
    ):
        if wanted(name):
            body, to = call.body("modern").encode(), at(url, "mcp", endpoint)
            found.append(Way(name, ways_in.http(to, sent["modern"], body, lines, Load())))
    return found


async def slice_of(way: Way, gateway: int, seconds: float) -> Slice:
    """Its lines call for so long; then all are answered, and CPU is read."""
    pids = [pid for pid in processes.tree(gateway) if CHILD not in processes.command_line(pid)]
    await way.load.ready()
    loop, calls = asyncio.get_running_loop(), way.load.calls
    before, beside, begun = processes.cpu_s(pids), processes.cpu_s(way.beside), loop.time()
    way.load.start()
    await asyncio.sleep(seconds)
    await way.load.stop()
    took, made = loop.time() - begun, way.load.calls - calls
    used, used_beside = processes.cpu_s(pids) - before, processes.cpu_s(way.beside) - beside
    return Slice(used / made * 1e6, used_beside / made * 1e6, made / took)


async def measure(bench: call.Bench, options: argparse.Namespace) -> None:
    every = await ways(bench, options.lines, lambda name: options.only in name)
    if not every:
        sys.exit(f"--only {options.only}: no way's name holds that")
    slices: dict[str, list[Slice]] = {way.name: [] for way in every}
    turns, gateway = random.Random(1), bench.gateway_pid
    for round_ in range(options.rounds + 1):
        for way in turns.sample(every, len(every)):
            one = await slice_of(way, gateway, options.seconds)
            if round_:  # The first one warms up.
                slices[way.name].append(one)
    for name, found in slices.items():
        print(row(name, found), flush=True)
    for way in every:
        for line in way.load.lines:
            if isinstance(line, ways_in.GrpcLine):
                await line.close()


def row(name: str, found: list[Slice]) -> str:
    gateway, beside, per_s = (sorted(values) for values in zip(*found, strict=True))
    text = f"{name:50} {statistics.median(gateway):7.1f} us CPU/call (least {gateway[0]:7.1f})"
    text += f" {statistics.median(per_s):8.0f} calls/s"
    return text + (f"   bridge {statistics.median(beside):7.1f} us" if any(beside) else "")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--lines", type=int, default=32)
    parser.add_argument("--only", default="", help="ways whose name holds this")
    options = parser.parse_args()
    with ExitStack() as stack:
        bench = call.Bench(stack)
        serve(stack, bench)
        uvloop.run(measure(bench, options))


if __name__ == "__main__":
    main()
