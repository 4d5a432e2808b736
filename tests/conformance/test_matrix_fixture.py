"""The matrix's server, asked directly: what fails here is the fixture's fault and nobody else's."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from mcp.types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent

from tests.conformance.websocket import websocket_client
from tests.harness.upstream_matrix import command, serving

# The SDK warns of everything the handshake era has; that era is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")

CELLS = [
    ("legacy", "http"),
    ("legacy", "sse"),
    ("legacy", "websocket"),
    ("legacy", "stdio"),
    ("modern", "http"),
    ("modern", "websocket"),
    ("modern", "stdio"),
    ("both", "http"),
]


async def elicited(context: Any, params: Any) -> ElicitResult:
    if params.mode == "url":
        return ElicitResult(action="accept")
    return ElicitResult(action="accept", content=dict.fromkeys(params.requested_schema["properties"], "7"))


async def sampled(context: Any, params: Any) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(text="Paris"), model="m", stop_reason="endTurn")


async def listed_roots(context: Any) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri="file:///work", name="work")])


@asynccontextmanager
async def transport(era: Any, kind: Any) -> AsyncIterator[Any]:
    if kind == "stdio":
        words = command(era)
        yield stdio_client(StdioServerParameters(command=words[0], args=words[1:]))
        return
    async with serving(era, kind) as matrix:
        if kind == "sse":
            yield sse_client(matrix.url)
        elif kind == "websocket":
            yield websocket_client(matrix.url)
        else:
            yield matrix.url


@asynccontextmanager
async def client(era: Any, kind: Any, **callbacks: Any) -> AsyncIterator[Client]:
    async with transport(era, kind) as where:
        mode = "legacy" if era == "legacy" else "auto"
        async with Client(where, mode=mode, **callbacks) as connected:
            yield connected


def said(result: Any) -> Any:
    return json.loads(result.content[0].text)


@pytest.mark.parametrize(("era", "kind"), CELLS)
async def test_it_lists_calls_reports_and_fails(era: str, kind: str) -> None:
    reports: list[float] = []

    async def report(done: float, total: float | None, message: str | None) -> None:
        reports.append(done)

    async with client(era, kind) as agent:
        names, cursor = [], None
        while True:
            page = await agent.list_tools(cursor=cursor)
            names += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert {"echo", "ask_form", "slow", "with_header"} <= set(names)
        assert (await agent.call_tool("echo", {"text": "hi"})).content[0].text == "hi"
        await agent.call_tool("steps", {"steps": 3}, progress_callback=report)
        assert reports == [1, 2, 3]
        assert (await agent.call_tool("fails", {})).is_error
        with pytest.raises(MCPError) as refused:
            await agent.call_tool("errors", {"code": -31050})
        assert (refused.value.code, refused.value.data) == (-31050, {"detail": "kept"})
        read = await agent.read_resource("matrix://items/7")
        assert json.loads(read.contents[0].text) == {"item": 7}
        with pytest.raises(MCPError):
            await agent.list_tools(cursor="nonsense")


@pytest.mark.parametrize(("era", "kind"), CELLS)
async def test_it_asks_in_its_era(era: str, kind: str) -> None:
    callbacks = {
        "elicitation_callback": elicited,
        "sampling_callback": sampled,
        "list_roots_callback": listed_roots,
    }
    async with client(era, kind, **callbacks) as agent:
        assert said(await agent.call_tool("ask_form", {}))["who"]["content"] == {"name": "7"}
        assert said(await agent.call_tool("ask_url", {}))["page"]["action"] == "accept"
        assert said(await agent.call_tool("ask_sampling", {}))["sample"]["content"]["text"] == "Paris"
        assert said(await agent.call_tool("ask_roots", {}))["roots"]["roots"][0]["name"] == "work"
        assert set(said(await agent.call_tool("ask_aside", {}))) == {"who"}
        assert set(said(await agent.call_tool("ask_many", {}))) == {"who", "sample", "roots"}
        assert set(said(await agent.call_tool("ask_twice", {}))) == {"who", "age"}
        prompt = await agent.get_prompt("asks", {})
        assert "tone" in prompt.messages[0].content.text


@pytest.mark.parametrize(("era", "kind"), CELLS)
async def test_it_asks_nobody_who_cannot_be_asked(era: str, kind: str) -> None:
    async with client(era, kind) as agent:
        with pytest.raises(MCPError) as refused:
            await agent.call_tool("ask_sampling", {})
        assert refused.value.data == {"requiredCapabilities": {"sampling": {}}}


@pytest.mark.parametrize(("era", "kind"), CELLS)
async def test_it_notices_a_cancellation(era: str, kind: str) -> None:
    async with client(era, kind) as agent:
        call = asyncio.ensure_future(agent.call_tool("slow", {"name": "one"}))
        assert (await agent.call_tool("until_started", {"name": "one"})).content[0].text == "started"
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await agent.call_tool("until_cancelled", {"name": "one"})).content[0].text == "cancelled"


@pytest.mark.parametrize(("era", "kind"), [("legacy", "http"), ("legacy", "sse"), ("legacy", "websocket")])
async def test_a_legacy_session_hears_of_changes(era: str, kind: str) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(incoming: Any) -> None:
        await heard.put(incoming.method if hasattr(incoming, "method") else repr(incoming))

    async with client(era, kind, message_handler=hear) as agent:
        async with asyncio.timeout(5):
            while heard.empty():  # the SDK opens its GET stream in its own time
                await agent.call_tool("add_tool", {"name": "extra"})
                await asyncio.sleep(0.05)
        assert await heard.get() == "notifications/tools/list_changed"
        while not heard.empty():
            heard.get_nowait()
        await agent.subscribe_resource("matrix://watched")
        await agent.call_tool("touch", {"uri": "matrix://watched"})
        async with asyncio.timeout(5):
            assert await heard.get() == "notifications/resources/updated"


@pytest.mark.parametrize(("era", "kind"), [("modern", "http"), ("modern", "websocket"), ("modern", "stdio")])
async def test_a_modern_listener_hears_of_changes(era: str, kind: str) -> None:
    async with (
        client(era, kind) as agent,
        agent.listen(tools_list_changed=True, resource_subscriptions=["matrix://watched"]) as stream,
    ):
        await agent.call_tool("touch", {"uri": "matrix://watched"})
        await agent.call_tool("add_tool", {"name": "extra"})
        async with asyncio.timeout(5):
            kinds = [type(await anext(aiter(stream))).__name__ for _ in range(2)]
        assert kinds == ["ResourceUpdated", "ToolsListChanged"]


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18"])
async def test_an_older_server_negotiates_no_more_than_it_knows(revision: str) -> None:
    words = command("legacy", "--revision", revision)
    program = StdioServerParameters(command=words[0], args=words[1:], cwd="/")
    async with Client(stdio_client(program), mode="legacy") as agent:
        assert agent.session.protocol_version == revision
        assert (await agent.call_tool("echo", {"text": "hi"})).content[0].text == "hi"


async def test_a_legacy_stream_closed_half_way_goes_on_when_the_client_comes_back() -> None:
    async with client("legacy", "http") as agent:
        assert (await agent.call_tool("reconnects", {})).content[0].text == "came back"


@pytest.mark.parametrize("kind", ["http", "websocket", "stdio"])
@pytest.mark.parametrize(
    ("era", "mode", "codes"), [("legacy", "2026-07-28", {-32600, -32602}), ("modern", "legacy", {-32022})]
)
async def test_a_server_of_one_era_refuses_the_other(era: str, mode: str, codes: set[int], kind: str) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with transport(era, kind) as where, Client(where, mode=mode) as agent:  # type: ignore[arg-type]
            await agent.list_tools()
    refused = raised.value.subgroup(MCPError)
    while isinstance(refused, ExceptionGroup):
        refused = refused.exceptions[0]
    assert isinstance(refused, MCPError)
    assert refused.code in codes
