"""The official Python SDK's client on the tour."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from mcp.client.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CreateMessageResult,
    ElicitResult,
    ListRootsResult,
    PromptReference,
    ResourceTemplateReference,
    Root,
    TextContent,
)

from tests.clients.tour import Json, Place, Step

STARTED_S = 20.0
FILLED: Json = {"name": "Ada", "age": 36, "reason": "because", "tone": "warm"}


async def elicited(context: Any, params: Any) -> ElicitResult:
    if params.mode == "url":
        return ElicitResult(action="accept")
    return ElicitResult(action="accept", content={key: FILLED[key] for key in params.requested_schema["properties"]})


async def sampled(context: Any, params: Any) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(text="Paris"), model="m", stop_reason="endTurn")


async def rooted(context: Any) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri="file:///work", name="work")])


ANSWERS: Json = {
    "elicitation_callback": elicited,
    "sampling_callback": sampled,
    "list_roots_callback": rooted,
}


@asynccontextmanager
async def connected(place: Place, mode: str, **options: Any) -> AsyncIterator[Client]:
    """A client that can be asked everything."""
    async with AsyncExitStack() as stack:
        if place.way == "http":
            http = await stack.enter_async_context(create_mcp_http_client(headers=place.headers))
            transport: Any = streamable_http_client(place.url, http_client=http)
        elif place.way == "sse":
            transport = sse_client(place.url, headers=place.headers)
        else:
            command, *words = place.command
            program = StdioServerParameters(command=command, args=words, env=place.environment)
            transport = stdio_client(program, errlog=subprocess.DEVNULL)  # type: ignore[arg-type]
        yield await stack.enter_async_context(Client(transport, mode=mode, **{**ANSWERS, **options}))


async def every(listing: Callable[..., Awaitable[Any]], kind: str) -> list[Json]:
    found: list[Json] = []
    cursor: str | None = None
    while True:
        page = plain(await listing(cursor=cursor))
        found += page[kind]
        cursor = page.get("nextCursor")
        if cursor is None:
            return found


def plain(result: Any) -> Json:
    return dict(result.model_dump(mode="json", by_alias=True, exclude_none=True))


async def held(client: Client, name: str, arguments: Json, release: str) -> Any:
    """A call that only ends if its progress is heard."""

    async def let_go(done: float, total: float | None, message: str | None) -> None:
        await client.call_tool(release, arguments)

    return await client.call_tool(name, arguments, progress_callback=let_go)


async def dropped(client: Client, name: str, arguments: Json, until: str) -> Any:
    """What is said after a call was given up: that its server knows."""
    started = asyncio.Event()

    async def start(done: float, total: float | None, message: str | None) -> None:
        started.set()

    call = asyncio.ensure_future(client.call_tool(name, arguments, progress_callback=start))
    async with asyncio.timeout(STARTED_S):
        await started.wait()
    call.cancel()
    await asyncio.wait([call])
    return await client.call_tool(until, arguments)


async def taken(client: Client, step: Step) -> Json:
    heard: list[float] = []

    async def hear(done: float, total: float | None, message: str | None) -> None:
        heard.append(done)

    kind, *what = step
    try:
        if kind == "call":
            result: Any = await client.call_tool(what[0], what[1], progress_callback=hear)
        elif kind == "held":
            result = await held(client, *what)
        elif kind == "dropped":
            result = await dropped(client, *what)
        elif kind == "read":
            result = await client.read_resource(what[0])
        elif kind == "prompt":
            result = await client.get_prompt(what[0], what[1])
        else:
            prompt = what[0]["type"] == "ref/prompt"
            reference = (PromptReference if prompt else ResourceTemplateReference).model_validate(what[0])
            result = await client.complete(reference, what[1])
    except MCPError as error:
        return {"error": {"code": error.code, "message": error.message}}
    return {"result": plain(result), "heard": heard}


async def toured(client: Client, steps: dict[str, Step]) -> Json:
    """What it lists, and what came of each step."""
    return {
        "revision": client.protocol_version,
        "tools": await every(client.list_tools, "tools"),
        "prompts": await every(client.list_prompts, "prompts"),
        "resources": await every(client.list_resources, "resources"),
        "resourceTemplates": await every(client.list_resource_templates, "resourceTemplates"),
        "outcomes": {key: await taken(client, step) for key, step in steps.items()},
    }
