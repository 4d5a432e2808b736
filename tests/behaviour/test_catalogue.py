"""Everything servers offer, through both planes: listed, permitted, read, told apart, and told of when it changes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from core.uris import exposed
from tests.harness.agent import Agent
from tests.harness.planes import Node, Planes, until
from tests.harness.upstream_matrix import Matrix, serving

MOST_CHANGES = 8
SILENCE = "toolgate_snapshot_silence_seconds "
TENANT = """
{kind: Tenant, name: acme, spec: {}}
---
{kind: User, tenant: acme, name: ada, spec: {groups: [staff]}}
---
{kind: User, tenant: acme, name: eve, spec: {groups: [guests]}}
---
kind: Role
tenant: acme
name: everything
spec: {permissions: [{prompts: ["*"], resources: ["*"]}, {effect: deny, tools: [], resources: ["matrix://items/13"]}]}
---
{kind: Role, tenant: acme, name: tools, spec: {permissions: [{}]}}
---
{kind: RoleBinding, tenant: acme, name: staff, spec: {role: everything, subjects: [{kind: group, name: staff}]}}
---
{kind: RoleBinding, tenant: acme, name: guests, spec: {role: tools, subjects: [{kind: group, name: guests}]}}
---
kind: Server
tenant: acme
name: one
spec: {on_change: approve, transport: {type: http, url: "ONE", allow_private: true}}
---
kind: Server
tenant: acme
name: two
spec: {on_change: approve, transport: {type: http, url: "TWO", allow_private: true}}
---
{kind: Endpoint, tenant: acme, name: default, spec: {page_size: 3, members: [{server: one}, {server: two}]}}
"""


class World:
    def __init__(self, planes: Planes, node: Node, upstreams: tuple[Matrix, Matrix]) -> None:
        self.planes, self.node, self.upstreams = planes, node, upstreams
        self._agents: list[Agent] = []

    async def agent(self, user: str, path: str = "/mcp") -> Agent:
        key = await self.planes.key("acme", f"{user}-{len(self._agents)}", user=user)
        agent = self.node.agent(key, path)
        self._agents.append(agent)

        async def accepted() -> bool:
            return (await agent.request("tools/list", {})).status == 200

        await until(accepted, f"the key of {user}")
        return agent


@asynccontextmanager
async def settled(planes: Planes) -> AsyncIterator[World]:
    async with serving("legacy", "http") as one, serving("modern", "http") as two:
        await planes.apply(TENANT.replace("ONE", one.url).replace("TWO", two.url))
        node = await planes.node()
        found = World(planes, node, (one, two))
        agent = await found.agent("ada")

        async def listed() -> bool:
            return {"plain", "two__plain"} <= set(await every(agent, "prompts/list", "prompts", "name"))

        await until(listed, "the prompts of both servers")
        try:
            yield found
        finally:
            for one_agent in found._agents:
                await one_agent.close()


async def every(agent: Agent, method: str, member: str, key: str) -> list[str]:
    """Over all pages; from the first again where the list changed meanwhile."""
    names: list[str] = []
    params: dict[str, object] = {}
    for _ in range(100):
        reply = await agent.request(method, params)
        if params and reply.status == 400 and b"changed" in reply.body:
            names, params = [], {}
            continue
        assert reply.status == 200, reply.body
        result = reply.message["result"]
        assert isinstance(result, dict)
        assert len(result[member]) <= 3
        names += [entry[key] for entry in result[member]]
        if "nextCursor" not in result:
            return names
        params = {"cursor": result["nextCursor"]}
    raise AssertionError("a list without end")


@pytest.mark.timeout(180)
async def test_a_catalogue_of_two_servers(planes: Planes) -> None:
    async with settled(planes) as there:
        ada, eve = await there.agent("ada"), await there.agent("eve")
        resources = await every(ada, "resources/list", "resources", "uri")
        templates = await every(ada, "resources/templates/list", "resourceTemplates", "uriTemplate")
        fixture = there.upstreams[0].fixture
        assert resources == sorted(fixture.resources) + [exposed("two", uri) for uri in sorted(fixture.resources)]
        assert templates == ["matrix://items/{number}", "two+matrix://items/{number}"]
        # A role of tools gives tools only.
        assert await every(eve, "prompts/list", "prompts", "name") == []
        assert await every(eve, "resources/list", "resources", "uri") == []
        assert await every(eve, "tools/list", "tools", "name") == await every(ada, "tools/list", "tools", "name")

        async def read(agent: Agent, uri: str) -> tuple[int, object]:
            reply = await agent.request("resources/read", {"uri": uri}, {"Mcp-Name": uri})
            if "error" in reply.message:
                return reply.status, reply.message["error"]["code"]  # type: ignore[index]
            return reply.status, reply.message["result"]["contents"][0]["uri"]  # type: ignore[index]

        for uri in ("matrix://text", "two+matrix://text", "matrix://items/7", "two+matrix://items/7"):
            assert await read(ada, uri) == (200, uri)
            assert await read(eve, uri) == (400, -32602)
        # Denied by its URI, whatever it is called here and however it is spelled.
        for uri in ("matrix://items/13", "two+matrix://items/13", "matrix://items/%31%33", "matrix://items/./13"):
            assert await read(ada, uri) == (400, -32602)
        reply = await ada.request("prompts/get", {"name": "two__plain"}, {"Mcp-Name": "two__plain"})
        assert "messages" in reply.message["result"], reply.body  # type: ignore[operator]
        asked = len(there.upstreams[1].fixture.requests)
        assert (await eve.request("prompts/get", {"name": "plain"}, {"Mcp-Name": "plain"})).status == 400
        assert len(there.upstreams[1].fixture.requests) == asked
        # One server of the endpoint, under the same names.
        alone = await there.agent("ada", "/acme/default/servers/two/mcp")
        assert all("two" in uri for uri in await every(alone, "resources/list", "resources", "uri"))

        assert await read(alone, "two+matrix://text") == (200, "two+matrix://text")

        shown = json.loads(await there.planes.toolgate("offerings", "two", "--tenant", "acme", "-o", "json"))
        assert {one["kind"] for one in shown["offerings"]} == {"prompt", "resource", "template"}

        await until_watched(there)
        took: list[float] = []
        while not took or (min(took) >= 1.0 and len(took) < MOST_CHANGES):  # Others may need the machine just now.
            took.append(await appears(there, ada, len(took) % 2, f"fresh_{len(took)}"))
        print("a changed list at the agent after", [f"{one * 1000:.0f} ms" for one in took])
        assert min(took) < 1.0


async def until_watched(there: World) -> None:
    async def watched() -> bool:
        lines = [line for line in (await there.node.metrics()).splitlines() if 'what="watched_servers"' in line]
        return any(line.startswith("toolgate_held") and line.endswith(" 2.0") for line in lines)

    await until(watched, "both servers watched")


async def appears(there: World, agent: Agent, index: int, name: str) -> float:
    """Seconds from when a server adds a prompt, and says so, to when the agent sees it."""
    reply = await agent.call("add_prompt" if index == 0 else "two__add_prompt", name=name)
    assert reply.ok, reply.body
    began = time.monotonic()

    async def seen() -> bool:
        return any(name in one for one in await every(agent, "prompts/list", "prompts", "name"))

    await until(seen, f"{name} listed")
    return time.monotonic() - began


async def test_a_gateway_that_no_tenant_is_for_is_not_ready_until_one_is(planes: Planes) -> None:
    node = Node(planes, "empty", 1, {})
    planes.nodes.append(node)
    node.start()

    async def heard() -> bool:
        silence = [line for line in (await node.metrics()).splitlines() if line.startswith(SILENCE)]
        return bool(silence) and float(silence[0].split()[1]) < 60

    await until(heard, "the control plane is heard")
    watched_until = asyncio.get_running_loop().time() + 3
    while asyncio.get_running_loop().time() < watched_until:
        assert not await node.is_ready()
        await asyncio.sleep(0.1)
    await planes.apply("{kind: Tenant, name: acme, spec: {}}")
    await node.ready()
