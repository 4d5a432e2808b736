"""A server's answer in the endpoint's own names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from core.errors import Reason, Unavailable
from core.mcp import rewrite

if TYPE_CHECKING:
    from core.call import Inbound, Permit, Result
    from data_plane.endpoint_view import EndpointView


def uris(result: Result, inbound: Inbound, permit: Permit, endpoint: EndpointView) -> Result:
    """URIs that lead elsewhere in this endpoint get the name that leads to this server. Raises Unavailable."""
    if not endpoint.renames or b'"uri"' not in result.result:
        return result
    server = permit.tool.server
    try:
        changed = rewrite.result(result.result, inbound.method, lambda uri: endpoint.exposed_uri(server, uri))
    except msgspec.DecodeError as failure:
        raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "The tool's server answered what is not MCP.") from failure
    return result if changed is result.result else msgspec.structs.replace(result, result=changed)
