"""Looking at a server: what it is, which era it speaks, and all it offers, byte for byte."""

import asyncio
from typing import NamedTuple, Protocol

import msgspec

from core.call import Raw, Route
from core.errors import Unavailable
from core.mcp.errors import METHOD_NOT_FOUND
from core.server import Observation, ObservedEntry, ObservedTool
from core.snapshot import Offer
from data_plane.upstreams import jsonrpc
from data_plane.upstreams.failure import ChallengedError, clipped
from data_plane.upstreams.greeting import Greeting

MAX_PAGES = 200
MAX_ENTRIES = 5000
LISTS_S = 120.0
"""For all lists together; one page has `route.deadline_s`."""
MAX_BYTES = 6 * 1024 * 1024
"""Of all lists together: an Observation is one message to the control plane, which takes 8 MiB."""


class Respondent(Protocol):
    """A backend that can be asked more than to run a tool: `HttpBackend` and `StdioServers`."""

    async def greet(self, route: Route) -> Greeting: ...

    async def ask(self, route: Route, greeting: Greeting, method: str, members: bytes) -> Raw: ...


class _List(NamedTuple):
    """One of the lists a server may have."""

    noun: str
    method: str
    member: str
    """Of the result, with the entries."""
    key: str
    """Of an entry: what it is known by."""
    offer: Offer | None = None
    """Asked for only where the server declares this; None: always."""


_TOOLS = _List("tool", "tools/list", "tools", "name")
_OTHERS = {
    "prompts": _List("prompt", "prompts/list", "prompts", "name", "prompts"),
    "resources": _List("resource", "resources/list", "resources", "uri", "resources"),
    "templates": _List(
        "resource template", "resources/templates/list", "resourceTemplates", "uriTemplate", "resources"
    ),
}


class _UnusableError(Exception):
    """The list breaks a rule or a cap; the text says which, for a person."""


async def observe(route: Route, respondent: Respondent, within_s: float = LISTS_S) -> Observation:
    """What the server offers now. Never raises: `error` says why nothing could be seen. `route.tool` is not used.

    Its tools could be listed, or the look failed; of its other lists `unlisted` tells which could not.
    """
    until = asyncio.get_running_loop().time() + within_s
    try:
        async with asyncio.timeout_at(until):
            greeting = await respondent.greet(route)
    except TimeoutError:
        return Observation(error=f"no answer within {within_s:.0f} s")
    except Unavailable as failure:
        challenge = failure.challenge if isinstance(failure, ChallengedError) else None
        return Observation(error=_told(failure), challenge=challenge)
    return await _Lists(route, respondent, greeting, until).observed()


def _told(failure: Unavailable | _UnusableError) -> str:
    return (failure.detail or failure.public) if isinstance(failure, Unavailable) else str(failure)


class _Lists:
    """Everything one server lists, asked for one after the other."""

    def __init__(self, route: Route, respondent: Respondent, greeting: Greeting, until: float) -> None:
        """`until`: on the loop's clock."""
        self._route = route
        self._respondent = respondent
        self._greeting = greeting
        self._until = until
        self._size = 0
        self._challenge: str | None = None

    async def observed(self) -> Observation:
        greeting = self._greeting
        tools, error = await self._entries(_TOOLS)
        seen = Observation(
            era=greeting.era,
            protocol_version=greeting.revision,
            server_info=greeting.server_info,
            instructions=greeting.instructions,
            tools=[ObservedTool(name=entry.name, definition=entry.definition) for entry in tools],
            offers=list(greeting.offers),
            error=error,
            challenge=self._challenge,
        )
        if error:
            return seen
        found, unlisted = dict[str, list[ObservedEntry]](), dict[str, str]()
        for kind, one in _OTHERS.items():
            entries, error = await self._entries(one)
            found[kind] = entries
            if error:
                unlisted[kind] = error
        return msgspec.structs.replace(seen, unlisted=unlisted, **found)

    async def _entries(self, one: _List) -> tuple[list[ObservedEntry], str]:
        """All of them, or none and why."""
        if one.offer is not None and one.offer not in self._greeting.offers:
            return [], ""
        try:
            async with asyncio.timeout_at(self._until):
                return await self._all(one), ""
        except ChallengedError as failure:
            self._challenge = failure.challenge
            return [], _told(failure)
        except TimeoutError:
            return [], f"its {one.noun} list took too long"
        except (Unavailable, _UnusableError) as failure:
            return [], _told(failure)

    async def _all(self, one: _List) -> list[ObservedEntry]:
        """Raises Unavailable, _UnusableError: part of a list is not shown as the whole."""
        entries: dict[str, ObservedEntry] = {}
        members, cursors = b"", set[str]()
        for _ in range(MAX_PAGES):
            answer = await self._respondent.ask(self._route, self._greeting, one.method, members)
            if answer.error:
                if not entries and self._may_lack(one, answer.error):
                    return []
                raise _UnusableError(f"refuses {one.method}: {clipped(jsonrpc.error_message(answer.error))}")
            self._size += len(answer.result)
            _collect(one, _page(one, answer.result), entries)
            if self._size > MAX_BYTES or len(entries) > MAX_ENTRIES:
                raise _UnusableError(f"lists more than {MAX_ENTRIES} {one.noun}s, or {MAX_BYTES} bytes in all")
            cursor = _cursor(one, answer.result)
            if cursor is None:
                return list(entries.values())
            if cursor in cursors:
                raise _UnusableError(f"its {one.noun} list comes back to where it was")
            cursors.add(cursor)
            members = b'"cursor":%b,' % jsonrpc.encode(cursor)
        raise _UnusableError(f"its {one.noun} list has more than {MAX_PAGES} pages")

    def _may_lack(self, one: _List, error: bytes) -> bool:
        """A server of prompts only need not know of tools, in whatever words; and many know of no templates."""
        undeclared = one.offer is None and "tools" not in self._greeting.offers
        return undeclared or jsonrpc.error_code(error) == METHOD_NOT_FOUND


class _Cursor(msgspec.Struct, frozen=True):
    next_cursor: str | None = msgspec.field(name="nextCursor", default=None)


_cursors = msgspec.json.Decoder(_Cursor)
_pages = msgspec.json.Decoder(list[msgspec.Raw])
_texts = msgspec.json.Decoder(str)


def _page(one: _List, result: bytes) -> list[msgspec.Raw]:
    try:
        return _pages.decode(jsonrpc.members(result)[one.member])
    except (RecursionError, msgspec.MsgspecError, jsonrpc.NotMcpError) as failure:
        raise _UnusableError(f"its {one.noun} list cannot be read: {failure}") from failure
    except KeyError as failure:
        raise _UnusableError(f"its {one.noun} list cannot be read: it has no `{one.member}`") from failure


def _cursor(one: _List, result: bytes) -> str | None:
    try:
        return _cursors.decode(result).next_cursor
    except (RecursionError, msgspec.MsgspecError) as failure:
        raise _UnusableError(f"its {one.noun} list cannot be read: {failure}") from failure


def _collect(one: _List, page: list[msgspec.Raw], entries: dict[str, ObservedEntry]) -> None:
    """Of entries with one name the first counts: lists may repeat across pages. What a name may be is not judged here:
    one entry that cannot be used, as one without a name, is left out and told of where the look is learnt from.
    """
    for definition in page:
        try:
            name = _texts.decode(jsonrpc.members(definition)[one.key])
        except (KeyError, msgspec.MsgspecError, jsonrpc.NotMcpError):
            name = ""
        entries.setdefault(name, ObservedEntry(name=name, definition=bytes(definition)))
