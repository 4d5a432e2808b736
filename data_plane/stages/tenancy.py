"""Is this caller at a door it may open, and are the rules behind it recent enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import Reason, Refused, Unavailable
from core.mcp.errors import NOTHING_HERE
from core.mcp.origin import origin_allowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.call import Inbound
    from core.identity import Caller
    from data_plane.endpoint_view import EndpointView
    from data_plane.snapshots import TenantSnapshot


def admit(inbound: Inbound, caller: Caller, snapshot: TenantSnapshot, silence_s: Callable[[], float]) -> EndpointView:
    """The endpoint asked for. `silence_s`: how long the node has not heard from the control plane.

    Another tenant's endpoint, one that does not exist and one the credential does not open answer alike:
    Refused(NOT_FOUND). Raises Refused(ORIGIN) for a browser's page of another origin, Refused(TOO_LARGE),
    Unavailable(STALE).
    """
    if inbound.tenant is not None and inbound.tenant != caller.tenant:
        raise Refused(Reason.NOT_FOUND, NOTHING_HERE, detail=f"credential is of {caller.tenant}")
    endpoint = snapshot.endpoints.get(inbound.endpoint)
    if endpoint is None:
        raise Refused(Reason.NOT_FOUND, NOTHING_HERE, detail="no such endpoint")
    if caller.endpoints and inbound.endpoint not in caller.endpoints:
        raise Refused(Reason.NOT_FOUND, NOTHING_HERE, detail="the credential does not open this endpoint")
    if inbound.server:
        endpoint = endpoint.narrowed(inbound.server)
        if endpoint is None:
            raise Refused(Reason.NOT_FOUND, NOTHING_HERE, detail="no such server in this endpoint")
    catalogue = endpoint.catalogue
    if inbound.origin and not origin_allowed(inbound.origin, inbound.host, catalogue.allowed_origins):
        raise Refused(Reason.ORIGIN, "This origin is not allowed here.", detail=inbound.origin[:200])
    if inbound.size_bytes > catalogue.max_body_bytes:
        raise Refused(Reason.TOO_LARGE, f"The body is larger than {catalogue.max_body_bytes} bytes.")
    limit_s = snapshot.manifest.max_staleness_s
    if limit_s is not None and (silent_s := silence_s()) > limit_s:
        raise Unavailable(Reason.STALE, "The gateway's rules are out of date.", detail=f"silent for {silent_s:.0f} s")
    return endpoint
