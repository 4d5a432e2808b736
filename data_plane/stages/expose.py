"""A server's answer in the endpoint's own names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from core.call import Question
from core.errors import Reason, Unavailable
from core.mcp import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.call import Ask, Inbound, Permit, Reply, Result, Target
    from data_plane.endpoint_view import EndpointView


def uris(result: Result, inbound: Inbound, permit: Permit, endpoint: EndpointView) -> Result:
    """URIs that lead elsewhere in this endpoint get the name that leads to this server. Raises Unavailable."""
    if not endpoint.renames or b'"uri"' not in result.result:
        return result
    names = _names(permit.tool.server, endpoint)
    rename = _read(permit.tool, names) if inbound.method == "resources/read" else names
    try:
        changed = rewrite.result(result.result, inbound.method, rename)
    except msgspec.DecodeError as failure:
        raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "The tool's server answered what is not MCP.") from failure
    return result if changed is result.result else msgspec.structs.replace(result, result=changed)


def questions(ask: Ask | None, permit: Permit, endpoint: EndpointView) -> Ask | None:
    """What the backend may call instead of `ask`: the client knows resources by the names they have here."""
    if ask is None or not endpoint.renames:
        return ask

    async def named(question: Question) -> Reply:
        if b'"uri"' not in question.params:
            return await ask(question)
        try:
            params = rewrite.question(question.params, _names(permit.tool.server, endpoint))
        except msgspec.DecodeError as failure:
            raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "The tool's server asks what is not MCP.") from failure
        return await ask(Question(question.method, params))

    return named


def told(server: str, endpoint: EndpointView) -> Callable[[str], str] | None:
    """As `Subject.exposed_uri`."""
    return _names(server, endpoint) if endpoint.renames else None


def _read(resource: Target, names: Callable[[str], str]) -> Callable[[str], str]:
    """What nobody lists leads to its server by the name it was asked for by, and by no other."""
    return lambda uri: resource.name if uri == resource.upstream_name else names(uri)


def _names(server: str, endpoint: EndpointView) -> Callable[[str], str]:
    return lambda uri: endpoint.exposed_uri(server, uri)
