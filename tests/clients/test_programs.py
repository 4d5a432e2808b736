"""Each client against a server with no gateway between them: what fails here is not the gateway's doing."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.types import ElicitResult

from tests.clients.programs import ClientFailed, Era, connected, inspect, remote, typescript
from tests.harness.upstream_matrix import Matrix, serving

ERAS: list[Era] = ["legacy", "auto", "modern"]


@pytest.fixture
async def server() -> AsyncIterator[Matrix]:
    async with serving("both", "http") as matrix:
        yield matrix


async def accepts(context: Any, params: Any) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Ada"})


@pytest.mark.parametrize("version", [1, 2])
async def test_the_typescript_client_lists_calls_and_answers(server: Matrix, version: Any) -> None:
    said = await typescript(version, server.url, "none", "ask_form", {"name": "Ada"})
    assert "echo" in said["tools"]
    assert '"name": "Ada"' in said["result"]["content"][0]["text"]


@pytest.mark.parametrize("era", ERAS)
async def test_the_inspector_lists_and_calls(server: Matrix, era: Era) -> None:
    listed = await inspect(server.url, "none", era, "tools/list")
    assert "echo" in {tool["name"] for tool in listed["tools"]}
    words = ["--tool-name", "echo", "--tool-arg", "text=hi"]
    assert (await inspect(server.url, "none", era, "tools/call", *words))["content"][0]["text"] == "hi"
    with pytest.raises(ClientFailed, match="unknown"):
        await inspect(server.url, "none", era, "tools/call", "--tool-name", "unknown")


@pytest.mark.parametrize("era", ERAS)
async def test_the_inspector_answers(server: Matrix, era: Era) -> None:
    async with connected(server.url, "none", era) as connection:
        answered = await connection.call("ask_form", {"name": "Ada"})
    assert '"name": "Ada"' in answered["content"][0]["text"]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_mcp_remote_lists_calls_and_answers(server: Matrix, mode: Any) -> None:
    with open(os.devnull, "w") as quiet:
        async with remote(server.url, "none") as program:
            transport = stdio_client(program, errlog=quiet)
            async with Client(transport, mode=mode, elicitation_callback=accepts) as client:
                assert "echo" in {tool.name for tool in (await client.list_tools()).tools}
                answered = await client.call_tool("ask_form", {})
    assert '"name": "Ada"' in answered.content[0].text  # type: ignore[union-attr]
