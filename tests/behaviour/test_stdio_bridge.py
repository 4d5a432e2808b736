"""The official client on a pipe, `toolgate stdio` in between, through both planes to servers of both eras."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult

from tests.behaviour.test_grpc_agent import ACME
from tests.harness.planes import Node, Planes, until
from tests.harness.stdio_bridge import bridge, parameters
from tests.harness.upstream_matrix import serving

Gateway = tuple[Planes, Node, str]


@pytest.fixture(params=["modern", "legacy"])
async def gateway(planes: Planes, request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    async with serving(request.param, "http") as upstream:
        await planes.apply(ACME.replace("URL", upstream.url))
        key = await planes.key("acme", "helper-ada", user="ada", agent="helper")
        node = await planes.node()
        agent = node.agent(key)

        async def listed() -> bool:
            reply = await agent.request("tools/list", {})
            return reply.ok and "echo" in reply.body.decode()

        await until(listed, "the server's tools")
        await agent.close()
        yield planes, node, key


def endpoint(node: Node) -> str:
    return f"http://127.0.0.1:{node.port}/acme/default/mcp"


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy", "auto"])
async def test_the_official_client_works_on_a_pipe(gateway: Gateway, mode: str) -> None:
    _, node, key = gateway
    steps: list[float] = []

    async def progress(done: float, _total: float | None, _message: str | None) -> None:
        steps.append(done)

    async def asked(_: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Ada"})

    server = parameters(endpoint(node), key)
    async with Client(server, mode=mode, elicitation_callback=asked) as client:  # type: ignore[arg-type]
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "echo" in names
        assert "counts" not in names
        answers = await asyncio.gather(*(client.call_tool("echo", {"text": str(n)}) for n in range(10)))
        assert [answer.content[0].text for answer in answers] == [str(n) for n in range(10)]  # type: ignore[union-attr]
        await client.call_tool("steps", {"steps": 3}, progress_callback=progress)
        assert steps == [1, 2, 3]
        header = await client.call_tool("with_header", {"region": "eu"})
        assert json.loads(header.content[0].text)["argument"] == "eu"  # type: ignore[union-attr]
        answered = await client.call_tool("ask_form", {})
        assert "Ada" in answered.content[0].text  # type: ignore[union-attr]


async def test_a_gateway_that_comes_back_is_gone_on_with(gateway: Gateway) -> None:
    _, node, key = gateway
    async with (
        bridge(endpoint(node), TOOLGATE_API_KEY=key) as legacy,
        bridge(endpoint(node), TOOLGATE_API_KEY=key) as modern,
    ):
        await legacy.hello()
        listen = {"notifications": {"toolsListChanged": True}}
        subscription = await modern.begin("subscriptions/listen", listen, modern=True)
        await modern.until("notifications/subscriptions/acknowledged")
        node.kill()
        away = await legacy.call("echo", {"text": "x"})
        assert away["error"]["code"] == 503
        node.start()
        await node.ready()
        assert (await legacy.call("echo", {"text": "back"}))["result"]["content"][0]["text"] == "back"
        told = await modern.until("notifications/tools/list_changed")
        assert told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == subscription
        assert (await legacy.close())[0] == (await modern.close())[0] == 0
