"""Answers that need no upstream: the handshake, and what every server answers.

All are made in the newest form; the front turns them into the caller's revision.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from core.call import Result
from core.errors import Reason, Refused
from core.mcp import results
from core.mcp.revisions import META_PREFIX, MODERN

if TYPE_CHECKING:
    from core.call import Inbound
    from core.snapshot import Offer
    from data_plane.endpoint_view import EndpointView

    Offers = frozenset[Offer]

TTL_MS: Final = 5_000
"""How long a client may keep what it discovered without asking."""
_CHANGING: Final = {"listChanged": True}


def hello(inbound: Inbound, endpoint: EndpointView, session: str, version: str, offers: Offers) -> Result:
    """`initialize`, with the id of the session just begun. `offers`: of the endpoint, to this caller."""
    body = results.initialize_result(
        inbound.revision, endpoint.catalogue.instructions, version=version, capabilities=_capabilities(offers)
    )
    return Result(result=body, revision=inbound.revision, session=session)


def other(inbound: Inbound, endpoint: EndpointView, version: str, offers: Offers) -> Result:
    """Everything else. `offers`: what `server/discover` tells this caller of. Raises Refused(UNKNOWN_METHOD)."""
    if inbound.method == "server/discover" and inbound.revision in MODERN:
        body = results.discover_result(
            endpoint.catalogue.instructions,
            version=version,
            ttl_ms=TTL_MS,
            capabilities=_capabilities(offers),
        )
    elif inbound.method == "ping" or inbound.method.startswith("notifications/"):
        body = results.EMPTY
    else:
        raise Refused(Reason.UNKNOWN_METHOD, f"Method not found: {inbound.method[:100]}")
    return Result(result=body, revision=inbound.revision)


def done(inbound: Inbound) -> Result:
    """What was asked for is done, and there is nothing to tell."""
    return Result(result=results.EMPTY, revision=inbound.revision)


@lru_cache(256)
def _capabilities(offers: Offers) -> bytes:
    """ServerCapabilities. Every list can change, and a change is told."""
    capabilities: dict[str, object] = {"tools": _CHANGING} if "tools" in offers else {}
    if "prompts" in offers:
        capabilities["prompts"] = _CHANGING
    if "resources" in offers:
        capabilities["resources"] = {"subscribe": True, **_CHANGING} if "subscribe" in offers else _CHANGING
    for offer in ("completions", "logging"):
        if offer in offers:
            capabilities[offer] = {}
    extensions: dict[str, object] = {META_PREFIX + offer: {} for offer in ("tasks", "ui") if offer in offers}
    if extensions:
        capabilities["extensions"] = extensions
    return msgspec.json.encode(capabilities)
