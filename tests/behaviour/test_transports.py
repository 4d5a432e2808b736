"""Servers over every transport there is on the network: looked at, called, spread over, through both planes."""

import json
from contextlib import AsyncExitStack

import pytest

from tests.behaviour.conftest import World
from tests.harness.agent import Agent
from tests.harness.hostile import Hostile
from tests.harness.planes import until
from tests.harness.upstream_matrix import serving
from tests.harness.upstream_raw import Peer, Request, scripted


class Moving(Hostile):
    """Its tool comes to want an argument in a header too, and says so to whoever lists it."""

    def __init__(self) -> None:
        super().__init__(("echo",))
        self.lists = 0

    async def __call__(self, request: Request, peer: Peer) -> None:
        self.lists += request.message.get("method") == "tools/list"
        await super().__call__(request, peer)

    def move(self) -> None:
        region = {"type": "string", "x-mcp-header": "Region"}
        self.definitions["echo"]["inputSchema"] = {"type": "object", "properties": {"region": region}}

    async def echo(self, request: Request, peer: Peer) -> None:
        wanted = "region" in str(self.definitions["echo"])
        if wanted and request.headers.get("mcp-param-region") != "north":
            error = {"code": -32020, "message": "Mcp-Param-Region is missing"}
            body = json.dumps({"jsonrpc": "2.0", "id": request.id, "error": error}).encode()
            await peer.json(body, status="400 Bad Request")
        else:
            await super().echo(request, peer)


WAYS = (
    ("sse", "legacy", "sse"),
    ("ws-legacy", "legacy", "websocket"),
    ("ws-modern", "modern", "websocket"),
)


async def test_servers_over_sse_and_websocket_serve_beside_those_over_http(world: World) -> None:
    async with AsyncExitStack() as stack:
        manifests, members = [], ["{server: odd}"]
        for name, era, transport in WAYS:
            matrix = await stack.enter_async_context(serving(era, transport))  # type: ignore[arg-type]
            reach = f'{{type: {transport}, url: "{matrix.url}", allow_private: true}}'
            manifests.append(f"{{kind: Server, tenant: acme, name: {name}, spec: {{transport: {reach}}}}}")
            members.append(f"{{server: {name}}}")
        listed = ", ".join(members)
        endpoint = f"{{kind: Endpoint, tenant: acme, name: default, spec: {{prefix: always, members: [{listed}]}}}}"
        await world.planes.apply("\n---\n".join([*manifests, endpoint]))
        agent = world.agent()

        async def all_are_listed() -> bool:
            shown = await agent.tools()
            return all(any(tool.startswith(name) and tool.endswith("echo") for tool in shown) for name, _, _ in WAYS)

        await until(all_are_listed, "the tools of every server")
        tools = await agent.tools()
        for name, _, _ in WAYS:
            echo = next(tool for tool in tools if tool.startswith(name) and tool.endswith("echo"))
            for number in range(3):
                assert (await agent.call(echo, text=f"{name} {number}")).text == f"{name} {number}"


async def test_calls_are_spread_over_replicas_and_go_on_when_one_is_gone(world: World) -> None:
    async with serving("modern", "http") as first, AsyncExitStack() as second_one:
        second = await second_one.enter_async_context(serving("modern", "http"))
        reach = f'{{type: http, url: "{first.url}", replicas: [{{url: "{second.url}"}}], allow_private: true}}'
        await world.planes.apply(
            f"{{kind: Server, tenant: acme, name: many, spec: {{transport: {reach}}}}}\n---\n"
            "{kind: Endpoint, tenant: acme, name: default, spec: {prefix: never, members: [{server: many}]}}"
        )
        agent = world.agent()

        async def is_listed() -> bool:
            return "counts" in await agent.tools() or "steps" in await agent.tools()

        await until(is_listed, "the tools of the replicas")
        for number in range(10):
            assert (await agent.call("echo", text=str(number))).text == str(number)
        calls = [matrix.fixture.requests.count("tools/call") for matrix in (first, second)]
        assert calls == [5, 5]
        await second_one.aclose()
        for number in range(10):
            assert (await agent.call("echo", text=str(number))).text == str(number)
        metrics = await world.node.metrics()
        ejected = [line for line in metrics.splitlines() if "upstream_replicas_ejected" in line]
        assert ejected, json.dumps(metrics.splitlines()[:5])


async def test_a_tool_that_moved_an_argument_into_a_header_is_called_so_and_looked_at_again_at_once(
    world: World,
) -> None:
    moving = Moving()
    async with scripted(moving) as server:
        reach = f'{{type: http, url: "{server.url}", allow_private: true}}'
        await world.planes.apply(
            f"{{kind: Server, tenant: acme, name: moving, spec: {{refresh_s: 3600, transport: {reach}}}}}\n---\n"
            "{kind: Endpoint, tenant: acme, name: default, spec: {prefix: never, members: [{server: moving}]}}"
        )
        agent = world.agent()

        async def is_listed() -> bool:
            return await agent.tools() == ["echo"]

        await until(is_listed, "the tool")
        moving.move()
        looked = moving.lists
        assert (await agent.call("echo", region="north")).ok

        async def is_pending() -> bool:
            return "echo" in str((await world.planes.status("acme", "Server", "moving")).get("quarantined"))

        await until(is_pending, "the changed definition, by a look nobody asked for")
        assert moving.lists > looked + 1


CAPABLE = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}, "sampling": {}, "roots": {}}}
ANSWERS = {
    "elicitation/create": {"action": "accept", "content": {"name": "Ada", "age": 36}},
    "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "m"},
    "roots/list": {"roots": [{"uri": "file:///work"}]},
}


async def answered(agent: Agent, tool: str) -> dict[str, object]:
    """What the tool made of the answers to all it asked, however many rounds that took."""
    params: dict[str, object] = {"name": tool, "arguments": {}, "_meta": CAPABLE}
    for _ in range(5):
        result = (await agent.request("tools/call", params, {"Mcp-Name": tool})).message["result"]
        assert isinstance(result, dict)
        if result["resultType"] == "complete":
            return dict(json.loads(result["content"][0]["text"]))
        asked = result["inputRequests"].items()
        params |= {"inputResponses": {key: ANSWERS[one["method"]] for key, one in asked}}
        params |= {"requestState": result["requestState"]} if "requestState" in result else {}
    raise AssertionError("it keeps asking")


@pytest.mark.parametrize(("name", "era", "transport"), [*WAYS, ("http-legacy", "legacy", "http")])
async def test_a_server_asks_an_agent_of_the_modern_era_over_every_transport(
    world: World, name: str, era: str, transport: str
) -> None:
    async with serving(era, transport) as matrix:  # type: ignore[arg-type]
        reach = f'{{type: {transport}, url: "{matrix.url}", allow_private: true}}'
        await world.planes.apply(
            f"{{kind: Server, tenant: acme, name: {name}, spec: {{transport: {reach}}}}}\n---\n"
            f"{{kind: Endpoint, tenant: acme, name: default, spec: {{prefix: never, members: [{{server: {name}}}]}}}}"
        )
        agent = world.agent()

        async def is_listed() -> bool:
            return "ask_many" in await agent.tools()

        await until(is_listed, "the tools")
        assert set(await answered(agent, "ask_many")) == {"who", "sample", "roots"}
        assert set(await answered(agent, "ask_twice")) == {"who", "age"}
