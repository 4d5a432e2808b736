"""What an idle stream costs: `subscriptions/listen`, and the GET stream of a session of its own.

    python -m bench.streams [--streams 2000]

Both planes as `toolgate up` starts them, one worker. Memory is resident: before, with so many open and silent for a
while, and after they are gone; then 10,000 sessions opened and abandoned. Exits 1 above 40 KiB a stream in the worker.
"""

import argparse
import asyncio
import json
import sys
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

from bench import call, processes, sessions
from bench.memory import Node

AT_ONCE = 50
SETTLE_S = 5.0
MOST_KIB = 40.0
SESSIONS = 10_000
LISTENED = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


def listening(url: str, key: str) -> bytes:
    headers = call.headers("modern", key) | {"Mcp-Method": "subscriptions/listen"}
    del headers["Mcp-Name"]
    params = {"notifications": LISTENED, "_meta": call.META}
    message = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}
    return sessions.request(url, headers, json.dumps(message).encode())


def session_stream(url: str, key: str) -> bytes:
    headers = call.headers("legacy", key, call.initialize(url, key)) | {"Accept": "text/event-stream"}
    return sessions.request(url, headers, b"").replace(b"POST ", b"GET ", 1)


async def opened(url: str, requests: list[bytes]) -> list[asyncio.StreamWriter]:
    """A connection each; returns when each has got its first event."""
    parts, writers, turns = urlsplit(url), [], asyncio.Semaphore(AT_ONCE)

    async def one(request: bytes) -> None:
        async with turns:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n")[0]:
                sys.exit(f"not a stream: {head.decode()}")
            await reader.readuntil(b"data: ")
            writers.append(writer)

    async with asyncio.TaskGroup() as tasks:
        for request in requests:
            tasks.create_task(one(request))
    return writers


def memory(node: Node) -> tuple[float, float]:
    """Of the worker and the supervisor, MiB."""
    return processes.rss_mib(node.worker), processes.rss_mib(node.supervisor)


async def measure(node: Node, name: str, requests: list[bytes]) -> float:
    """KiB a stream in the worker."""
    before, begun, used = memory(node), time.monotonic(), processes.cpu_s([node.worker])
    writers = await opened(node.bench.url, requests)
    took, used = time.monotonic() - begun, processes.cpu_s([node.worker]) - used
    await asyncio.sleep(SETTLE_S)
    held = memory(node)
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(SETTLE_S)
    after, count = memory(node), len(requests)
    cost, beside = ((held[at] - before[at]) * 1024 / count for at in (0, 1))
    print(
        f"{name:24}{count:8,} streams{cost:8.1f} KiB each in the worker,{beside:6.1f} in the supervisor;"
        f"{before[0]:7.1f} ->{held[0]:7.1f} ->{after[0]:7.1f} MiB; opened in {took:.1f} s,"
        f" {used / count * 1e6:.0f} us of CPU each",
        flush=True,
    )
    return cost


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=2000)
    count = parser.parse_args().streams
    with ExitStack() as stack:
        node = Node(call.Bench(stack))
        url, key = node.bench.url, node.bench.key
        asyncio.run(measure(node, "warming up", [listening(url, key)] * (count // 10)))
        costs = [asyncio.run(measure(node, "subscriptions/listen", [listening(url, key)] * count))]
        gets = [session_stream(url, key) for _ in range(count)]
        costs.append(asyncio.run(measure(node, "GET of 2025-11-25", gets)))
        # What the first ones left is used again, or it would be a leak.
        costs.append(asyncio.run(measure(node, "listen, once more", [listening(url, key)] * count)))
        before = memory(node)
        rate = sessions.open_and_drop(url, key, SESSIONS)
        time.sleep(SETTLE_S)
        after = memory(node)
    print(
        f"{SESSIONS:,} sessions abandoned ({rate:,.0f}/s): {before[0]:.1f} -> {after[0]:.1f} MiB in the worker, "
        f"{before[1]:.1f} -> {after[1]:.1f} in the supervisor"
    )
    sys.exit(max(costs) > MOST_KIB)


if __name__ == "__main__":
    main()
