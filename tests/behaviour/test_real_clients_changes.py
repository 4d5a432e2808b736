"""What changes at a server reaches connected clients of each kind within a second, whichever replica they are at."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from secrets import token_hex
from time import monotonic

import pytest

from tests.clients import watching
from tests.clients.watching import WATCHED, Watch, What
from tests.clients.world import World, lists

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]
PROMISED_S = 1.0
LIMIT_S = 5.0
ROUNDS = 4
"""On a machine that is busy with other things one of them may be late."""


async def connect(served: World, stack: AsyncExitStack, node: int) -> list[Watch]:
    """A client of each kind at a node."""
    http, sse, stdio = (served.place("both", way, node) for way in ("http", "sse", "stdio"))  # type: ignore[arg-type]
    remote = await stack.enter_async_context(served.behind_remote("both", node))

    def watch(name: str) -> Watch:
        return Watch(f"{name} at {served.nodes[node].name}")

    opened = [
        watching.python(http, "legacy", watch("python legacy")),
        watching.python(http, "2026-07-28", watch("python modern")),
        watching.python(sse, "legacy", watch("python sse")),
        watching.python(stdio, "legacy", watch("python stdio legacy")),
        watching.python(stdio, "2026-07-28", watch("python stdio modern")),
        watching.python(remote, "legacy", watch("python mcp-remote")),
        watching.typescript(http, 1, "legacy", watch("typescript 1")),
        watching.typescript(sse, 1, "legacy", watch("typescript 1 sse")),
        watching.typescript(http, 2, "legacy", watch("typescript 2 legacy")),
        watching.typescript(http, 2, "2026-07-28", watch("typescript 2 modern")),
    ]
    return [await stack.enter_async_context(one) for one in opened]


async def heard_in_time(watches: list[Watch], change: Callable[[], Awaitable[None]]) -> None:
    """Makes changes until one was heard by all as promised. Clients of the handshake era open the stream they listen on
    in their own time, so the first may come before it."""
    rounds: list[dict[str, float | None]] = []
    for _ in range(ROUNDS):
        for watch in watches:
            watch.forget()
        began = monotonic()
        await change()
        after = await asyncio.gather(*(watch.after(began, LIMIT_S) for watch in watches))
        late = [s is None or s > PROMISED_S for s in after]
        if not any(late):
            return
        rounds.append({watch.name: s for watch, s, bad in zip(watches, after, late, strict=True) if bad})
    raise AssertionError(f"heard too late or never, round by round: {rounds}")


async def call(served: World, tool: str, **arguments: object) -> None:
    agent = served.nodes[0].agent(served.key, "/acme/both/mcp")
    reply = await agent.call(tool, **arguments)
    await agent.close()
    assert reply.ok


@pytest.mark.parametrize("server", ["legacy", "modern"])
async def test_clients_of_each_kind_hear_of_a_new_tool(served: World, server: str) -> None:
    added: list[str] = []

    async def add() -> None:
        added.append(f"added_{token_hex(4)}")
        await call(served, f"{server}__add_tool", name=added[-1])

    async with AsyncExitStack() as stack:
        watches = [watch for node in (0, 1) for watch in await connect(served, stack, node)]
        await heard_in_time(watches, add)
        for node in served.nodes:
            assert await lists(node, served.key, "both", f"{server}__{added[-1]}"), "told of what is not there yet"


CHANGES: list[tuple[What, str]] = [("prompts", "add_prompt"), ("resources", "add_resource"), ("updated", "touch")]


@pytest.mark.parametrize(("what", "tool"), CHANGES)
@pytest.mark.parametrize("server", ["legacy", "modern"])
async def test_python_clients_hear_of_prompts_and_resources(served: World, server: str, what: What, tool: str) -> None:
    async def change() -> None:
        new = f"added-{token_hex(4)}"
        arguments = {"add_prompt": {"name": new}, "add_resource": {"uri": f"matrix://{new}"}, "touch": {"uri": WATCHED}}
        await call(served, f"{server}__{tool}", **arguments[tool])

    async with AsyncExitStack() as stack:
        watches = []
        for node in (0, 1):
            for mode in ("legacy", "2026-07-28"):
                watch = Watch(f"python {mode} at {served.nodes[node].name}")
                place = served.place(server, node=node)
                watches.append(await stack.enter_async_context(watching.python(place, mode, watch, what)))
        await heard_in_time(watches, change)
