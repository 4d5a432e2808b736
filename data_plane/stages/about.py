"""What an endpoint says of itself, to whoever opens a connection to it and to people: as much as the caller may see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from core.call import Opening, Result
from core.mcp.revisions import MODERN
from data_plane.endpoint_view import members

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.call import Inbound
    from core.identity import Caller
    from core.snapshot import Backend, Manifest
    from data_plane.endpoint_view import EndpointView, Seen

CONNECT: Final = "connect"
STATUS: Final = "status"
INTROSPECTION: Final = "introspection"
METHODS: Final = frozenset({STATUS, INTROSPECTION})
"""What is answered with what the caller sees. No method of the protocol: fronts ask for it."""

_ALWAYS: Final = ("server/discover", "tools/list", "tools/call")
_OFFERED: Final = {
    "prompts": ("prompts/list", "prompts/get"),
    "resources": ("resources/list", "resources/templates/list", "resources/read"),
    "completions": ("completion/complete",),
    "tasks": ("tasks/get", "tasks/update", "tasks/cancel"),
}
"""What an offer of any member adds to what a script may call."""


class Place(msgspec.Struct, frozen=True):
    """What `connect` is answered with: what a connection's messages are held to."""

    max_body_bytes: int


class _Server(msgspec.Struct, rename="camel"):
    name: str
    reachable: bool
    era: str | None
    protocol_version: str
    offers: list[str]
    tools: int
    prompts: int
    resources: int
    resource_templates: int


class _Status(msgspec.Struct, rename="camel"):
    endpoint: str
    generation: int
    version: str
    tools: int
    prompts: int
    resources: int
    resource_templates: int
    servers: list[_Server]


def place(inbound: Inbound, endpoint: EndpointView, caller: Caller) -> Result:
    """The caller may open a connection. What holds it open hears when it may no more."""
    body = msgspec.json.encode(Place(endpoint.catalogue.max_body_bytes))
    return Result(
        result=body, revision=inbound.revision, opening=Opening(tenant=caller.tenant, principal=caller.principal)
    )


def hidden(endpoint: EndpointView, seen: Seen) -> frozenset[str]:
    """Servers of which there is something, but nothing for this caller: to it they are not there either."""
    everything = endpoint.entries()
    # Most see all there is, and catalogues are long.
    return frozenset() if seen == everything else _servers(everything) - _servers(seen)


def _servers(some: Seen) -> frozenset[str]:
    return frozenset(entry.server for kind in some.values() for entry in kind)


def itself(
    inbound: Inbound,
    endpoint: EndpointView,
    seen: Seen,
    backends: Mapping[str, Backend],
    manifest: Manifest,
    *,
    version: str,
) -> Result:
    """`status` or `introspection`. `version`: of the distribution."""
    if inbound.method == STATUS:
        body = msgspec.json.encode(_status(endpoint, seen, backends, manifest, version))
    else:
        body = _introspection(endpoint, seen)
    return Result(result=body, revision=inbound.revision)


def _status(
    endpoint: EndpointView, seen: Seen, backends: Mapping[str, Backend], manifest: Manifest, version: str
) -> _Status:
    unseen = hidden(endpoint, seen)
    shown = [name for name in members(endpoint.catalogue) if name in backends and name not in unseen]
    return _Status(
        endpoint=endpoint.catalogue.endpoint,
        generation=manifest.generation,
        version=version,
        tools=len(seen["tools"]),
        prompts=len(seen["prompts"]),
        resources=len(seen["resources"]),
        resource_templates=len(seen["resourceTemplates"]),
        servers=[_server(name, backends[name], endpoint, seen) for name in shown],
    )


def _server(name: str, backend: Backend, endpoint: EndpointView, seen: Seen) -> _Server:
    counts = {kind: sum(entry.server == name for entry in found) for kind, found in seen.items()}
    return _Server(
        name=name,
        reachable=backend.era is not None and name not in endpoint.catalogue.unavailable,
        era=backend.era,
        protocol_version=backend.protocol_version,
        offers=sorted(endpoint.offers.get(name, ())),
        tools=counts["tools"],
        prompts=counts["prompts"],
        resources=counts["resources"],
        resource_templates=counts["resourceTemplates"],
    )


def _introspection(endpoint: EndpointView, seen: Seen) -> bytes:
    offers = endpoint.offered(seen)
    methods = [*_ALWAYS, *(method for offer, added in _OFFERED.items() if offer in offers for method in added)]
    shown = {kind: [msgspec.Raw(entry.definition) for entry in found] for kind, found in seen.items()}
    return msgspec.json.encode({"protocolVersion": MODERN[0], "methods": methods, **shown})
