"""The official Python client, unmodified, in both eras."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from front_harness import KEY, MODERN, Site, text
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from core.call import Inbound, Notification, Result

ERAS = pytest.mark.parametrize(("mode", "revision"), [("auto", MODERN), ("legacy", "2025-11-25")])


@asynccontextmanager
async def connected(site: Site, mode: str, **options: object) -> AsyncIterator[Client]:
    async with create_mcp_http_client(headers={"Authorization": f"Bearer {KEY}"}) as http:
        transport = streamable_http_client(site.url, http_client=http)
        async with Client(transport, mode=mode, **options) as client:
            yield client


@ERAS
async def test_it_lists_and_calls(site: Site, mode: str, revision: str) -> None:
    async with connected(site, mode) as client:
        assert client.protocol_version == revision
        assert client.instructions == "Be kind."
        assert client.server_info is not None
        assert client.server_info.name == "toolgate"
        listed = await client.list_tools()
        assert [tool.name for tool in listed.tools] == ["echo"]
        result = await client.call_tool("echo", {"text": "gr\u00fc\u00dfe"})
        assert result.content[0].text == "gr\u00fc\u00dfe"
        assert not result.is_error


@ERAS
async def test_it_gets_progress(site: Site, mode: str, revision: str) -> None:
    steps: list[float] = []

    async def seen(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with connected(site, mode) as client:
        await client.call_tool("progress", progress_callback=seen)
    assert steps == [0, 50, 100]


@ERAS
async def test_it_gets_the_log_it_asked_for(site: Site, mode: str, revision: str) -> None:
    lines: list[object] = []

    async def log(inbound: Inbound) -> Result:
        for level in (b"debug", b"error"):
            inbound.notify(Notification("notifications/message", b'{"level":"%b","data":"%b"}' % (level, level)))
        return text("logged")

    async def seen(message: object) -> None:
        lines.append(message.data)

    site.pipeline.tools["log"] = log
    async with connected(site, mode, logging_callback=seen, log_level="warning") as client:
        await client.call_tool("log")
    assert lines == (["error"] if mode == "auto" else ["debug", "error"])


@ERAS
async def test_it_is_told_of_an_unknown_tool(site: Site, mode: str, revision: str) -> None:
    async with connected(site, mode) as client:
        with pytest.raises(MCPError) as failure:
            await client.call_tool("nope", {})
    assert (failure.value.error.code, failure.value.error.message) == (-32602, "Unknown tool: nope")


@ERAS
async def test_it_cancels_a_call(site: Site, mode: str, revision: str) -> None:
    async with connected(site, mode) as client:
        call = asyncio.create_task(client.call_tool("hang", {}))
        async with asyncio.timeout(20):
            await site.pipeline.started.wait()
        call.cancel()
        async with asyncio.timeout(20):
            await site.pipeline.cancelled.wait()
        assert (await client.call_tool("echo", {"text": "still here"})).content[0].text == "still here"


async def test_it_pings_in_a_session(site: Site) -> None:
    async with connected(site, "legacy") as client:
        with pytest.warns(match="ping"):
            await client.send_ping()


@ERAS
async def test_many_calls_at_once_get_their_own_answers(site: Site, mode: str, revision: str) -> None:
    async with connected(site, mode) as client:
        results = await asyncio.gather(*(client.call_tool("echo", {"text": str(n)}) for n in range(50)))
    assert [result.content[0].text for result in results] == [str(n) for n in range(50)]
