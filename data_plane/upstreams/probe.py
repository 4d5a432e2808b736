"""Looking at a server: what it is, which era it speaks, and every tool it offers, byte for byte."""

import asyncio
from typing import Protocol

import msgspec

from core.call import Raw, Route
from core.errors import Unavailable
from core.server import Observation, ObservedTool
from data_plane.upstreams import jsonrpc
from data_plane.upstreams.failure import clipped
from data_plane.upstreams.greeting import Greeting

MAX_PAGES = 200
MAX_TOOLS = 5000
LIST_S = 120.0
"""For all pages; one page has `route.deadline_s`."""
MAX_BYTES = 16 * 1024 * 1024
_MAX_NAME = 256


class Respondent(Protocol):
    """A backend that can be asked more than to run a tool: `HttpBackend` and `StdioServers`."""

    async def greet(self, route: Route) -> Greeting: ...

    async def ask(self, route: Route, greeting: Greeting, method: str, members: bytes) -> Raw: ...


class _Page(msgspec.Struct, frozen=True):
    tools: list[msgspec.Raw]
    next_cursor: str | None = msgspec.field(name="nextCursor", default=None)


class _Named(msgspec.Struct, frozen=True):
    name: str


class _UnusableError(Exception):
    """The list breaks a rule or a cap; the text says which, for a person."""


async def observe(route: Route, respondent: Respondent) -> Observation:
    """What the server offers now. Never raises: `error` says why nothing could be seen. `route.tool` is not used."""
    try:
        greeting = await respondent.greet(route)
    except Unavailable as failure:
        return Observation(error=_told(failure))
    try:
        async with asyncio.timeout(LIST_S):
            tools, error = await _all_tools(route, respondent, greeting), ""
    except TimeoutError:
        tools, error = [], f"its tool list was not complete within {LIST_S:g} s"
    except (Unavailable, _UnusableError) as failure:
        tools, error = [], _told(failure)
    return Observation(
        era=greeting.era,
        protocol_version=greeting.revision,
        server_info=greeting.server_info,
        instructions=greeting.instructions,
        tools=tools,
        error=error,
    )


def _told(failure: Unavailable | _UnusableError) -> str:
    return (failure.detail or failure.public) if isinstance(failure, Unavailable) else str(failure)


async def _all_tools(route: Route, respondent: Respondent, greeting: Greeting) -> list[ObservedTool]:
    """Raises Unavailable, _UnusableError: part of a list is not shown as the whole."""
    tools: dict[str, ObservedTool] = {}
    members, size, cursors = b"", 0, set[str]()
    for _ in range(MAX_PAGES):
        answer = await respondent.ask(route, greeting, "tools/list", members)
        if answer.error:
            if not tools and jsonrpc.error_code(answer.error) == -32601:
                return []  # A server of prompts and resources only.
            raise _UnusableError(f"refuses tools/list: {clipped(jsonrpc.error_message(answer.error))}")
        page = _page(answer.result)
        size += len(answer.result)
        _collect(page, tools)
        if size > MAX_BYTES or len(tools) > MAX_TOOLS:
            raise _UnusableError(f"lists more than {MAX_TOOLS} tools or {MAX_BYTES} bytes of them")
        if page.next_cursor is None:
            return list(tools.values())
        if page.next_cursor in cursors:
            raise _UnusableError("its tool list comes back to where it was")
        cursors.add(page.next_cursor)
        members = b'"cursor":%b,' % jsonrpc.encode(page.next_cursor)
    raise _UnusableError(f"its tool list has more than {MAX_PAGES} pages")


def _page(result: bytes) -> _Page:
    try:
        return msgspec.json.decode(result, type=_Page)
    except msgspec.MsgspecError as failure:
        raise _UnusableError(f"its tool list cannot be read: {failure}") from failure


def _collect(page: _Page, tools: dict[str, ObservedTool]) -> None:
    """Of tools with one name the first counts: lists may repeat across pages."""
    for definition in page.tools:
        try:
            name = msgspec.json.decode(definition, type=_Named).name
        except msgspec.MsgspecError as failure:
            raise _UnusableError(f"lists a tool without a name: {failure}") from failure
        if not name or len(name) > _MAX_NAME:
            raise _UnusableError("lists a tool whose name is empty or longer than 256 characters")
        tools.setdefault(name, ObservedTool(name=name, definition=bytes(definition)))
