"""Official MCP clients, unmodified, through both planes: Python in both eras, TypeScript in both eras."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

from tests.behaviour.conftest import World, settle
from tests.harness.planes import Planes, until
from tests.harness.upstream_sdk import Seen, serving

CLIENTS = Path(__file__).parents[1] / "clients"

SDK = """
kind: Server
tenant: acme
name: sdk
spec: {transport: {type: http, url: "URL", allow_private: true}}
---
kind: Server
tenant: acme
name: time
spec: {transport: {type: stdio, command: [mcp-server-time, --local-timezone, UTC]}}
---
kind: Endpoint
tenant: acme
name: default
spec:
  members:
    - {server: odd, include: [leaks_card, counts]}
    - {server: sdk}
    - {server: time}
"""


@pytest.fixture
async def seen() -> Seen:
    return Seen()


@pytest.fixture
async def world(planes: Planes, seen: Seen) -> AsyncIterator[World]:
    async with serving(seen) as url, settle(planes, workers=2) as world:
        await planes.apply(SDK.replace("URL", url))
        await world.listed("leaks_card", "steps", "get_current_time")
        yield world


@pytest.mark.parametrize("mode", ["auto", "2026-07-28", "legacy"])
async def test_the_python_client_lists_calls_and_hears_progress(world: World, mode: str) -> None:
    headers = {"Authorization": f"Bearer {world.key}"}
    heard: list[float] = []

    async def progress(done: float, _total: float | None, _message: str | None) -> None:
        heard.append(done)

    async with create_mcp_http_client(headers=headers) as http:
        transport = streamable_http_client(f"http://127.0.0.1:{world.node.port}/acme/default/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert {"leaks_card", "echo", "steps", "get_current_time"} <= set(names)
            assert "counts" not in names
            steps = await client.call_tool("steps", {}, progress_callback=progress)
            assert steps.content[0].text == "done"  # type: ignore[union-attr]
            assert heard == [1, 2, 3]
            card = await client.call_tool("leaks_card", {})
            assert "[masked:card]" in card.content[0].text  # type: ignore[union-attr]
            clock = await client.call_tool("get_current_time", {"timezone": "Europe/Vienna"})
            assert "Europe/Vienna" in clock.content[0].text  # type: ignore[union-attr]
            failed = await client.call_tool("fails", {})
            assert failed.is_error


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_a_call_the_python_client_gives_up_is_cancelled_at_the_server(
    world: World, seen: Seen, mode: str
) -> None:
    headers = {"Authorization": f"Bearer {world.key}"}
    async with create_mcp_http_client(headers=headers) as http:
        transport = streamable_http_client(f"http://127.0.0.1:{world.node.port}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            call = asyncio.ensure_future(client.call_tool("hang", {}))
            async with asyncio.timeout(20):
                await seen.started.wait()
            call.cancel()
            async with asyncio.timeout(20):
                await seen.cancelled.wait()

            async def recorded() -> bool:
                return any(row["outcome"] == "cancelled" for row in await world.planes.audit("acme", "--tool", "hang"))

            # Waited for with the client open: it cannot take what still arrives for the call while it closes.
            await until(recorded, "the cancelled call's row")


@pytest.mark.parametrize("script", ["legacy.mjs", "modern.mjs"])
async def test_the_typescript_client_lists_and_calls(world: World, script: str) -> None:
    node = shutil.which("node")
    assert node is not None, "Node.js is needed: tests/setup.sh says how"
    url = f"http://127.0.0.1:{world.node.port}/mcp"
    process = await asyncio.create_subprocess_exec(
        node, str(CLIENTS / script), url, world.key, "steps", "{}", stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert process.returncode == 0
    said = json.loads(out)
    assert {"leaks_card", "echo", "get_current_time"} <= set(said["tools"])
    assert "counts" not in said["tools"]
    assert said["result"]["content"][0]["text"] == "done"
    assert [step["progress"] for step in said["progress"]] == [1, 2, 3]
