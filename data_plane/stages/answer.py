"""Answers that need no upstream: the handshake, and the list of what the caller may see of the compiled catalogue.

All are made in the newest form; the front turns them into the caller's revision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from core.call import Result
from core.errors import Reason, Refused
from core.mcp import results
from core.mcp.revisions import MODERN

if TYPE_CHECKING:
    from core.call import Inbound
    from core.snapshot import CompiledTool
    from data_plane.endpoint_view import EndpointView
    from data_plane.snapshots import TenantSnapshot

LIST_TTL_MS = 5_000
"""How long a client may keep a list without asking: short, because it cannot be told of changes."""
PAGES_KEPT = 1024


class _Page(msgspec.Struct):
    cursor: str | None = None


def tools(
    inbound: Inbound,
    endpoint: EndpointView,
    visible: tuple[CompiledTool, ...],
    snapshot: TenantSnapshot,
    version: str,
) -> Result:
    """All of `visible` on one page; callers that see the same share the same bytes.

    Raises Refused(INVALID) for a cursor: none was ever given.
    """
    if b'"cursor"' in inbound.params and _cursor(inbound.params) is not None:
        raise Refused(Reason.INVALID, "params.cursor is none that this server gave")
    key = (endpoint.catalogue.endpoint, id(visible))
    kept = snapshot.pages.get(key)
    if kept is None or kept[0] is not visible:
        page = results.tools_list_result((tool.definition for tool in visible), ttl_ms=LIST_TTL_MS, version=version)
        if len(snapshot.pages) >= PAGES_KEPT:
            snapshot.pages.clear()
            snapshot.full.pages.count += 1
        kept = snapshot.pages[key] = (visible, page)
    return Result(result=kept[1], revision=inbound.revision)


def hello(inbound: Inbound, endpoint: EndpointView, session: str, version: str) -> Result:
    """`initialize`, with the id of the session just begun."""
    body = results.initialize_result(inbound.revision, endpoint.catalogue.instructions, version=version)
    return Result(result=body, revision=inbound.revision, session=session)


def other(inbound: Inbound, endpoint: EndpointView, version: str) -> Result:
    """Everything else. Raises Refused(UNKNOWN_METHOD)."""
    if inbound.method == "server/discover" and inbound.revision in MODERN:
        body = results.discover_result(endpoint.catalogue.instructions, version=version, ttl_ms=LIST_TTL_MS)
    elif inbound.method == "ping" or inbound.method.startswith("notifications/"):
        body = results.EMPTY
    else:
        raise Refused(Reason.UNKNOWN_METHOD, f"Method not found: {inbound.method[:100]}")
    return Result(result=body, revision=inbound.revision)


def _cursor(params: bytes) -> str | None:
    try:
        return msgspec.json.decode(params, type=_Page).cursor
    except msgspec.ValidationError as failure:
        raise Refused(Reason.INVALID, "params.cursor must be a string") from failure
