"""A real server whose lists change, watched by a node's own code: how long until the fleet has it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from adapters.crypto.sealing import AesGcmSealer
from core.call import Outgoing
from core.resource import Problem
from core.server import Observation, StdioTransport
from core.snapshot import Manifest, TenantUpdate
from data_plane.messages import Found
from data_plane.supervisor.servers import Servers
from data_plane.supervisor.stdio import StdioServers
from data_plane.supervisor.watching import Watching
from data_plane.upstreams.network import Network
from tests.harness.fleet import ControlPlane, HoldingNode, connected, control_plane
from tests.harness.upstream_matrix import Matrix, command, serving
from tests.harness.upstream_matrix_tools import make


class LookingNode(HoldingNode):
    """Looks at servers as a gateway's supervisor does, and watches them."""

    def __init__(self, name: str, network: Network, watching: Watching) -> None:
        super().__init__(name)
        self.manifests_bytes: dict[str, Found] = {}
        lookup = lambda tenant, _digest: self.manifests_bytes.get(tenant)  # noqa: E731
        self.children = StdioServers()
        respondents = {**network.backends(), StdioTransport: self.children}
        self.servers = Servers(lookup, self, AesGcmSealer(), respondents=respondents, children=self, watching=watching)

    async def offer(self, update: TenantUpdate) -> list[Problem]:
        tenant = msgspec.msgpack.decode(update.signed.manifest, type=Manifest).tenant
        found = Found(update.signed.manifest, self.key.unwrap(update.sealed_key), [])
        self.manifests_bytes[tenant] = found
        return await super().offer(update)

    def read(self, digest: bytes) -> bytes:
        return self.parts[digest]

    def running(self) -> list[tuple[str, str]]:
        return []

    def retire(self, tenant: str, server: str) -> None:
        raise AssertionError("nothing runs here")

    async def observe(self, tenant: str, server: str, watch_s: float) -> Observation:
        self.probed.append((tenant, server))
        return await self.servers.look(tenant, server, watch_s)


@asynccontextmanager
async def looking(plane: ControlPlane) -> AsyncIterator[tuple[LookingNode, Watching]]:
    network, watching = Network(), Watching()
    node = LookingNode("node-1", network, watching)
    task = asyncio.create_task(watching.run())
    try:
        async with connected(node, plane.target) as source:
            watching.changed = source.changed
            yield node, watching
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await network.close()
        await node.children.close()


async def declared(plane: ControlPlane, node: LookingNode, upstream: Matrix, transport: str) -> None:
    """A tenant with the server in its endpoint, looked at and under watch."""
    await plane.apply("Tenant", "", "acme", {})
    reach = {"type": transport, "url": upstream.url, "allow_private": True}
    await plane.apply("Server", "acme", "moving", {"transport": reach, "on_change": "approve"})
    await plane.apply("Endpoint", "acme", "default", {"members": [{"server": "moving"}]})
    await node.until(lambda: bool(node.catalogue("acme").prompts))


@pytest.mark.parametrize(
    ("era", "transport"),
    [("legacy", "http"), ("modern", "http"), ("legacy", "sse"), ("legacy", "websocket"), ("modern", "websocket")],
)
async def test_a_changed_list_is_published_in_well_under_a_second(dsn: str, era: str, transport: str) -> None:
    server = make().server()
    fixture = server.fixture
    async with (
        control_plane(dsn) as plane,
        looking(plane) as (node, watching),
        serving(era, transport, server=server) as upstream,
    ):
        await declared(plane, node, upstream, transport)
        async with asyncio.timeout(20):
            # The look after the watch began: from here on nothing is missed.
            while len(node.probed) < 2 or watching.watched() != [("acme", "moving")]:
                await asyncio.sleep(0.02)
        shown = node.catalogue("acme")
        assert {one.name for one in shown.prompts} == set(fixture.prompts)
        assert {one.name for one in shown.resources} == set(fixture.resources)
        assert {one.name for one in shown.templates} == {"matrix://items/{number}"}
        took = []
        for number in range(3):
            name = f"fresh_{number}"

            def is_there(name: str = name) -> bool:
                return name in {one.name for one in node.catalogue("acme").prompts}

            fixture.prompts[name] = ({**fixture.prompts["plain"][0], "name": name}, fixture.prompts["plain"][1])
            began = time.monotonic()
            await announce(fixture)
            await node.until(is_there)
            took.append(time.monotonic() - began)
        shown_ms = ", ".join(f"{one * 1000:.0f}" for one in took)
        print(f"{era} over {transport}: published {shown_ms} ms after the server said so")
        assert min(took) < 1.0


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_program_on_the_node_is_listened_to_as_well(dsn: str, era: str) -> None:
    async with control_plane(dsn) as plane, looking(plane) as (node, watching):
        reach = {"type": "stdio", "command": command(era), "env": {"PYTHONPATH": str(Path(__file__).parents[3])}}
        await plane.apply("Tenant", "", "acme", {})
        await plane.apply("Server", "acme", "moving", {"transport": reach, "on_change": "approve"})
        await plane.apply("Endpoint", "acme", "default", {"members": [{"server": "moving"}]})
        await node.until(lambda: bool(node.catalogue("acme").prompts))
        async with asyncio.timeout(20):
            while len(node.probed) < 2 or watching.watched() != [("acme", "moving")]:
                await asyncio.sleep(0.02)
        route = msgspec.structs.replace(node.servers.route("acme", "moving"), tool="add_prompt")
        began = time.monotonic()
        await node.children.call(route, Outgoing(arguments=b'{"name":"fresh"}'), lambda _: None)
        await node.until(lambda: "fresh" in {one.name for one in node.catalogue("acme").prompts})
        print(f"{era} over stdio: published {(time.monotonic() - began) * 1000:.0f} ms after the call")


async def announce(fixture: object) -> None:
    from mcp.server.subscriptions import PromptsListChanged

    await fixture.broadcast(PromptsListChanged(), lambda session: session.send_prompt_list_changed())  # type: ignore[attr-defined]
