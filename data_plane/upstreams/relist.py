"""A modern server says that headers do not match: the definition known here is stale. What does the new one want?"""

from collections.abc import Awaitable, Callable, Iterator

import msgspec

from core.call import Outgoing, Raw, Route
from core.mcp.errors import HEADER_MISMATCH
from core.mcp.headers import param_headers
from data_plane.upstreams import jsonrpc

_PAGES = 50
_DEPTH = 16
_TOOLS = 256
_REMEMBERED_S = 10.0

Json = dict[str, object]
List = Callable[[bytes], Awaitable[Raw]]
"""`tools/list`, by its members of params."""


class _Page(msgspec.Struct, frozen=True):
    class Tool(msgspec.Struct, frozen=True):
        name: str
        input_schema: Json = msgspec.field(name="inputSchema", default_factory=dict)

    tools: list[Tool]
    next_cursor: str | None = msgspec.field(name="nextCursor", default=None)


def mismatched(raw: Raw) -> bool:
    return bool(raw.error) and jsonrpc.error_code(raw.error) == HEADER_MISMATCH


class Corrections:
    """Of one server's tools. A look is remembered for a moment: one that is never content is not asked each time."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, dict[str, str]]] = {}

    def known(self, tool: str, now: float) -> bool:
        return tool in self._known and now - self._known[tool][0] < _REMEMBERED_S

    async def corrected(self, route: Route, outgoing: Outgoing, ask: List, now: float) -> Route | None:
        """The route with the headers that the tool as listed now asks for; None: the same, or it is not listed.

        Raises Unavailable.
        """
        if not self.known(route.tool, now):
            schema = await _schema(route.tool, ask)
            if len(self._known) >= _TOOLS:
                self._known.clear()
            self._known[route.tool] = (now, dict(_annotated(schema or {}, "", 0)))
        wanted = param_headers(self._known[route.tool][1], outgoing.arguments or b"{}")
        if sorted(wanted) == sorted(route.header_params):
            return None
        return msgspec.structs.replace(route, header_params=wanted)


async def _schema(tool: str, ask: List) -> Json | None:
    members = b""
    for _ in range(_PAGES):
        answer = await ask(members)
        try:
            page = msgspec.json.decode(answer.result or b'{"tools":[]}', type=_Page)
        except msgspec.MsgspecError:
            return None
        for listed in page.tools:
            if listed.name == tool:
                return listed.input_schema
        if page.next_cursor is None:
            return None
        members = b'"cursor":%b,' % jsonrpc.encode(page.next_cursor)
    return None


def _annotated(schema: Json, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """(Dotted path, token) of each `x-mcp-header`, where `properties` alone lead to it."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or depth > _DEPTH:
        return
    for name, inner in properties.items():
        if not isinstance(inner, dict) or "." in name:
            continue
        token = inner.get("x-mcp-header")
        if isinstance(token, str) and token.isascii() and token.replace("-", "").replace("_", "").isalnum():
            yield f"{path}{name}", token
        yield from _annotated(inner, f"{path}{name}.", depth + 1)
