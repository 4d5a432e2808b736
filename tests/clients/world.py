"""Two gateways that share a Redis before a server of each era, and an agent's key for them."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.clients.programs import remote
from tests.clients.tour import Place, Way
from tests.harness.planes import Node, Planes, running, until
from tests.harness.upstream_matrix import Matrix, serving

TOOLGATE = Path(sys.executable).with_name("toolgate")
MANIFESTS = """
{kind: Tenant, name: acme, spec: {}}
---
{kind: User, tenant: acme, name: ada, spec: {groups: [staff]}}
---
{kind: Agent, tenant: acme, name: desktop, spec: {}}
---
{kind: Role, tenant: acme, name: caller, spec: {permissions: [{tools: ["*"], prompts: ["*"], resources: ["*"]}]}}
---
{kind: RoleBinding, tenant: acme, name: callers, spec: {role: caller, subjects: [{kind: group, name: staff}]}}
---
kind: Server
tenant: acme
name: legacy
spec: {on_change: approve, timeout_s: 30, transport: {type: http, url: "LEGACY", allow_private: true}}
---
kind: Server
tenant: acme
name: modern
spec: {on_change: approve, timeout_s: 30, transport: {type: http, url: "MODERN", allow_private: true}}
---
{kind: Endpoint, tenant: acme, name: legacy, spec: {prefix: never, members: [{server: legacy}]}}
---
{kind: Endpoint, tenant: acme, name: modern, spec: {prefix: never, members: [{server: modern}]}}
---
{kind: Endpoint, tenant: acme, name: both, spec: {prefix: always, members: [{server: legacy}, {server: modern}]}}
"""


@dataclass(frozen=True)
class World:
    planes: Planes
    nodes: list[Node]
    key: str
    legacy: Matrix
    modern: Matrix

    @asynccontextmanager
    async def behind_remote(self, endpoint: str, node: int = 0, *, sse: bool = False) -> AsyncIterator[Place]:
        """The same by `mcp-remote`, a program on stdio."""
        reached = self.place(endpoint, "sse" if sse else "http", node)
        async with remote(reached.url, self.key, "sse-only" if sse else "http-only") as program:
            yield Place("stdio", command=(program.command, *program.args), environment=program.env or {})

    def place(self, endpoint: str, way: Way = "http", node: int = 0) -> Place:
        """An endpoint at one of the nodes, as a client's configuration has it: with the key."""
        return self.at(self.nodes[node].port, endpoint, way)

    def at(self, port: int, endpoint: str, way: Way) -> Place:
        """An endpoint at a port of whatever leads to the nodes."""
        url = f"http://127.0.0.1:{port}/acme/{endpoint}"
        if way == "stdio":
            command = (str(TOOLGATE), "stdio", "--endpoint", f"{url}/mcp")
            return Place(way, command=command, environment={"TOOLGATE_API_KEY": self.key})
        headers = {"Authorization": f"Bearer {self.key}"}
        return Place(way, f"{url}/{'sse' if way == 'sse' else 'mcp'}", headers)


async def lists(node: Node, key: str, endpoint: str, tool: str) -> bool:
    agent = node.agent(key, f"/acme/{endpoint}/mcp")
    try:
        reply = await agent.request("tools/list", {})
        return reply.ok and any(one["name"] == tool for one in reply.message["result"]["tools"])  # type: ignore[index]
    finally:
        await agent.close()


@asynccontextmanager
async def world(folder: Path, dsn: str, redis_url: str) -> AsyncIterator[World]:
    """Ready: every endpoint is served by both nodes."""
    async with AsyncExitStack() as stack:
        legacy = await stack.enter_async_context(serving("legacy", "http"))
        modern = await stack.enter_async_context(serving("modern", "http"))
        planes = await stack.enter_async_context(running(folder, dsn))
        await planes.apply(MANIFESTS.replace("LEGACY", legacy.url).replace("MODERN", modern.url))
        key = await planes.key("acme", "desktop-ada", user="ada", agent="desktop")
        nodes = [await planes.node(name, TOOLGATE_REDIS_URL=redis_url) for name in ("one", "two")]
        wanted = [("legacy", "echo"), ("modern", "echo"), ("both", "legacy__echo"), ("both", "modern__echo")]
        for node in nodes:
            for endpoint, tool in wanted:
                await until(partial(lists, node, key, endpoint, tool), f"{tool} of {endpoint} on {node.name}")
        yield World(planes, nodes, key, legacy, modern)
