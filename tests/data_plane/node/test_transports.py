"""HTTP+SSE and WebSocket on a whole node: streams in one worker, their messages to another, and a node that stops."""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conformance.websocket import WebSocket
from tests.data_plane.node.gateway import Node, key, node, served, upstream
from tests.harness.metrics import samples
from tests.matrix.front import Front
from tests.matrix.pipes import Sse

MODERN = "2026-07-28"
BEARER = {"Authorization": f"Bearer {key('acme').decode()}"}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Node]:
    """Of two workers."""
    with upstream() as server, node(tmp_path / "node", 2) as made:
        made.publish(served("acme", 1, server.url))
        made.start()
        made.until(made.ready, "ready")
        yield made


def talks(made: Node) -> list[float]:
    """Conversations of each worker."""
    found = [
        (labels["process"], value)
        for name, labels, value in samples(made.page())
        if name == "toolgate_held" and labels["what"] == "talks"
    ]
    return [value for _, value in sorted(found)]


async def test_messages_find_their_stream_in_whichever_worker_it_is(gateway: Node) -> None:
    url = f"http://127.0.0.1:{gateway.mcp_port}/acme/default/sse"
    async with AsyncExitStack() as stack:
        clients: list[Front] = []
        # Until there are some in each worker: which one takes a connection is the kernel's choice.
        while len(clients) < 64 and not (len(clients) >= 8 and min(await asyncio.to_thread(talks, gateway)) > 0):
            revision = ("2024-11-05", "2025-11-25", MODERN)[len(clients) % 3]
            clients.append(await stack.enter_async_context(Front(revision, Sse(url, BEARER))))
            if len(clients) >= 8:
                await asyncio.sleep(0.3)  # Workers tell their figures once a second.
        assert min(await asyncio.to_thread(talks, gateway)) > 0
        for _ in range(3):
            answers = await asyncio.gather(*(client.call("tool-0", {"a": "b"}) for client in clients))
            assert [answer["content"][0]["text"] for answer in answers] == ["done"] * len(clients)


async def test_who_is_connected_is_told_that_the_node_stops(gateway: Node) -> None:
    headers = [(name.encode(), value.encode()) for name, value in BEARER.items()]
    url = f"ws://127.0.0.1:{gateway.mcp_port}/acme/default/ws"
    sockets = [await WebSocket.connect(url, headers, ("mcp",)) for _ in range(4)]
    sse = Front("2025-11-25", Sse(f"http://127.0.0.1:{gateway.mcp_port}/acme/default/sse", BEARER))
    async with sse:
        meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
        hold = {"name": "tool-0", "arguments": {}, "_meta": meta}
        for number, socket in enumerate(sockets):
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": hold}))
            assert json.loads(await socket.receive() or "")["id"] == number
        stopping = asyncio.create_task(asyncio.to_thread(gateway.stop, signal.SIGTERM))
        async with asyncio.timeout(10):
            for socket in sockets:
                assert await socket.receive() is None
                await socket.close()
            await sse.pipe._tasks["GET"]  # type: ignore[attr-defined]
            assert await stopping == 0


async def test_each_transport_is_in_the_records(gateway: Node) -> None:
    async with Front(MODERN, Sse(f"http://127.0.0.1:{gateway.mcp_port}/sse", BEARER)) as client:
        await client.call("tool-0")
    gateway.until(
        lambda: [r for r in gateway.records() if (r["transport"], r["method"]) == ("sse", "tools/call")], "recorded"
    )
    (one,) = [r for r in gateway.records() if r["method"] == "connect"]
    assert (one["transport"], one["outcome"], one["user"]) == ("sse", "ok", "ann")
