"""Results the gateway makes itself, in the form of the newest revision; `translate` turns them into older ones."""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from core.mcp.revisions import META_PREFIX, SUPPORTED, negotiate

SERVER_NAME = "toolgate"
SERVER_INFO_KEY = META_PREFIX + "serverInfo"
UNAVAILABLE_KEY = "toolgate/unavailable"
"""In `_meta` of lists: servers that could not be looked at last time, so that their part may be old."""

CacheScope = Literal["public", "private"]

EMPTY = b"{}"
"""The result of `ping`, and what a notification is answered with inside the gateway."""

TOOLS_ONLY = b'{"tools":{}}'
"""Capabilities of an endpoint that serves tools and announces no changes of its list."""


def server_info(version: str) -> bytes:
    """The Implementation object of this gateway, to agents and to servers. `version`: of the distribution."""
    return msgspec.json.encode({"name": SERVER_NAME, "version": version})


def initialize_result(
    requested_version: str, instructions: str = "", *, version: str, capabilities: bytes = TOOLS_ONLY
) -> bytes:
    """Answers `initialize`. `requested_version`: what the client asked for, or what was already negotiated."""
    more = b',"instructions":' + msgspec.json.encode(instructions) if instructions else b""
    return b'{"protocolVersion":"%b","capabilities":%b,"serverInfo":%b%b}' % (
        negotiate(requested_version).encode(),
        capabilities,
        server_info(version),
        more,
    )


def discover_result(
    instructions: str = "",
    *,
    version: str,
    capabilities: bytes = TOOLS_ONLY,
    ttl_ms: int = 0,
    cache_scope: CacheScope = "private",
) -> bytes:
    """Answers `server/discover`: every revision this endpoint serves, of both eras."""
    more = b',"instructions":' + msgspec.json.encode(instructions) if instructions else b""
    return b'{"resultType":"complete","supportedVersions":%b,"capabilities":%b%b%b,"_meta":{"%b":%b}}' % (
        msgspec.json.encode(SUPPORTED),
        capabilities,
        more,
        _hints(ttl_ms, cache_scope),
        SERVER_INFO_KEY.encode(),
        server_info(version),
    )


def list_result(
    member: str,
    definitions: Iterable[bytes],
    next_cursor: str = "",
    ttl_ms: int = 0,
    cache_scope: CacheScope = "private",
    *,
    version: str = "",
    meta: Mapping[str, object] | None = None,
) -> bytes:
    """Answers a list method with definitions as they are, each a JSON object. An empty cursor is the last page.

    `member`: what the result calls them, such as "tools". `meta`: further members of `_meta`.
    """
    cursor = b',"nextCursor":' + msgspec.json.encode(next_cursor) if next_cursor else b""
    more = b"".join(b',"%b":%b' % (key.encode(), msgspec.json.encode(value)) for key, value in (meta or {}).items())
    about = b',"_meta":{"%b":%b%b}' % (SERVER_INFO_KEY.encode(), server_info(version), more) if version else b""
    hints = _hints(ttl_ms, cache_scope)
    return b'{"resultType":"complete","%b":[%b]%b%b%b}' % (
        member.encode(),
        b",".join(definitions),
        cursor,
        hints,
        about,
    )


def tool_error_result(text: str) -> bytes:
    """A `tools/call` result that says the tool failed: the model reads the text and can react."""
    content = msgspec.json.encode([{"type": "text", "text": text}])
    return b'{"resultType":"complete","content":' + content + b',"isError":true}'


def _hints(ttl_ms: int, cache_scope: CacheScope) -> bytes:
    return b',"ttlMs":%d,"cacheScope":"%b"' % (max(0, ttl_ms), cache_scope.encode())
