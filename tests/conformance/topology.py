"""What the suite is pointed at: the fixture itself, a gateway before it, one of two workers, two gateways in turn."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from adapters.postgres.embedded import EmbeddedPostgres
from tests.conformance.offered import OFFERED
from tests.conformance.shim import shimmed
from tests.harness.agent import Agent
from tests.harness.planes import WAIT_S, Node, free_port, running, until
from tests.harness.postgres import FAST
from tests.harness.redis import RedisServer
from tests.harness.upstream_everything import make
from tests.harness.upstream_matrix import serving

MANIFESTS = """
{kind: Tenant, name: suite, spec: {}}
---
{kind: User, tenant: suite, name: harness, spec: {groups: [suite]}}
---
{kind: Agent, tenant: suite, name: conformance, spec: {}}
---
{kind: Role, tenant: suite, name: caller, spec: {permissions: [{tools: ["*"], prompts: ["*"], resources: ["*"]}]}}
---
{kind: RoleBinding, tenant: suite, name: callers, spec: {role: caller, subjects: [{kind: group, name: suite}]}}
---
kind: Server
tenant: suite
name: everything
spec: {on_change: approve, transport: {type: http, url: "URL", allow_private: true}}
---
{kind: Endpoint, tenant: suite, name: default, spec: {prefix: never, members: [{server: everything}]}}
"""


@dataclass(frozen=True)
class Target:
    """A URL for the suite, and what it lacks of OFFERED."""

    url: str
    missing: list[str]


async def missing(agent: Agent) -> list[str]:
    """What of OFFERED is not listed, as "tools: name"."""
    lacking = []
    for kind, names in OFFERED.items():
        listed: set[str] = set()
        cursor: object = None
        while True:
            reply = await agent.request(f"{kind}/list", {} if cursor is None else {"cursor": cursor})
            page = reply.message.get("result", {})
            listed |= {str(one["uri" if kind == "resources" else "name"]) for one in page.get(kind, [])}  # type: ignore[union-attr]
            cursor = page.get("nextCursor")  # type: ignore[union-attr]
            if cursor is None:
                break
        lacking += [f"{kind}: {name}" for name in sorted(names - listed)]
    await agent.close()
    return lacking


@asynccontextmanager
async def direct(folder: Path) -> AsyncIterator[Target]:
    """The fixture: what fails here is not the gateway's fault."""
    async with serving("both", "http", server=make()) as fixture:
        port = int(fixture.url.split(":")[2].split("/")[0])
        yield Target(f"http://localhost:{port}/mcp", await missing(Agent(port, "none")))


@asynccontextmanager
async def gateways(folder: Path, nodes: int, workers: int = 1) -> AsyncIterator[Target]:
    """So many gateways behind a shim that authenticates; where there are several, they share a Redis."""
    async with AsyncExitStack() as stack:
        fixture = await stack.enter_async_context(serving("both", "http", server=make()))
        postgres = EmbeddedPostgres(folder / "postgres", settings=FAST)
        await postgres.start()
        stack.push_async_callback(postgres.stop)
        planes = await stack.enter_async_context(running(folder, postgres.dsn("postgres")))
        environment = {"TOOLGATE_REDIS_URL": redis(stack, folder)} if nodes > 1 else {}
        await planes.apply(MANIFESTS.replace("URL", fixture.url))
        key = await planes.key("suite", "conformance", user="harness", agent="conformance")
        started = [await planes.node(f"gw{number}", workers=workers, **environment) for number in range(1, nodes + 1)]
        for node in started:
            await until(partial(lists, node, key), f"{node.name} lists the fixture's tools", WAIT_S)
        shim = shimmed([node.port for node in started], {"Authorization": f"Bearer {key}"})
        port = await stack.enter_async_context(shim)
        lacking = [one for node in started for one in await missing(node.agent(key))]
        yield Target(f"http://localhost:{port}/mcp", sorted(set(lacking)))


async def lists(node: Node, key: str) -> bool:
    """Whether the endpoint is served with the fixture's tools in it."""
    agent = node.agent(key)
    reply = await agent.request("tools/list", {})
    await agent.close()
    result = reply.message.get("result", {}) if reply.status == 200 else {}
    return any(tool["name"] == "test_simple_text" for tool in result.get("tools", []))  # type: ignore[union-attr]


def redis(stack: AsyncExitStack, folder: Path) -> str:
    """The URL of a server that lives as long as `stack`."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise RuntimeError("redis-server is not installed: tests/setup.sh redis")
    (folder / "redis").mkdir()
    server = RedisServer(program, folder / "redis", free_port())
    server.start()
    stack.callback(server.kill)
    return server.url


TOPOLOGIES: dict[str, Callable[[Path], AbstractAsyncContextManager[Target]]] = {
    "direct": direct,
    "one": lambda folder: gateways(folder, 1),
    "workers": lambda folder: gateways(folder, 1, workers=2),
    "two": lambda folder: gateways(folder, 2),
}
