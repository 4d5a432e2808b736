"""An endpoint as requests ask about it: by the name of a tool or prompt, and by URI."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from core import uris
from core.call import Target
from core.endpoint import composed_instructions
from core.resource import digest
from core.snapshot import Backend, Catalogue, CompiledPrompt, CompiledResource, CompiledTool, Offer
from core.uri_template import Template

Templates = tuple[tuple[Template, CompiledResource], ...]
Seen = Mapping[str, tuple[Target, ...]]
"""Entries of an endpoint by kind, as lists call the kinds: tools, prompts, resources, resourceTemplates."""

_READ: Final = ("resources", "resourceTemplates")
_ABOUT: Final[dict[Offer, tuple[str, ...]]] = {
    "tools": ("tools",),
    "prompts": ("prompts",),
    "resources": _READ,
    "subscribe": _READ,
    "completions": ("prompts", "resourceTemplates"),
    "tasks": ("tools",),
    "ui": ("tools",),
}
"""The kinds an offer is about; of one that is not here, all."""
_KINDS: Final = ("tools", "prompts", *_READ)


@dataclass(frozen=True, slots=True)
class EndpointView:
    """Immutable but for what it remembers. Equal content has an equal digest."""

    catalogue: Catalogue
    tools: dict[str, CompiledTool]
    digest: bytes
    """Of the catalogue part: what cached pages of it are keyed by."""
    prompts: dict[str, CompiledPrompt]
    resources: dict[str, CompiledResource]
    offers: dict[str, frozenset[Offer]]
    """Member to what it can do."""
    renames: bool
    """Whether any URI may be another one here than at its server."""
    _templates: Templates
    """Those that say most first."""
    _own: dict[str, frozenset[str]]
    """Server to the URIs, as it spells them, that it lists itself."""
    _narrow: dict[str, "EndpointView"] = field(default_factory=dict)

    def resource(self, uri: str) -> CompiledResource | None:
        """What a URI is: listed, of a template, or of the one member it can be of. None: nothing of this endpoint.

        What is not listed gets `name` and `upstream_name` of its own, so that a policy decides about the URI and not
        about the template; and it must read one way only, or a policy could be talked past (`core.uris.plain`).
        """
        listed = self.resources.get(uri)
        if listed is not None or not uris.plain(uri):
            return listed
        for template, entry in self._templates:
            if template.matches(uri):
                moved = entry.name != entry.upstream_name
                return _named(entry, uri, (uris.original(entry.server, uri) if moved else None) or uri)
        for entry in self.catalogue.unlisted:
            original = uris.original(entry.server, uri)
            if original is not None and uris.plain(original):
                return _named(entry, uri, original)
        alone = self.catalogue.unlisted
        return _named(alone[0], uri, uri) if len(alone) == 1 else None

    def lists(self, target: Target) -> bool:
        """Whether a target of this endpoint is in its lists: of a URI that is not, the caller made up a part or all."""
        if not isinstance(target, CompiledResource) or target.name in self.resources:
            return True
        return any(entry is target for _, entry in self._templates)

    def exposed_uri(self, server: str, uri: str) -> str:
        """The URI that leads to `uri` of `server` here: another one only where its own leads to another server."""
        if uri in self._own.get(server, ()):
            mine = self.resources.get(uri)
            return uri if mine is not None and mine.server == server else uris.exposed(server, uri)
        found = self.resource(uri)
        if found is None or found.server == server:
            return uri
        other = uris.exposed(server, uri)
        back = self.resource(other)
        return other if back is not None and (back.server, back.upstream_name) == (server, uri) else uri

    def template(self, text: str) -> CompiledResource | None:
        """The template as it is listed: what a completion refers to."""
        return next((entry for template, entry in self._templates if template.text == text), None)

    def entries(self) -> Seen:
        """All there are."""
        known = self.catalogue
        return dict(zip(_KINDS, (known.tools, known.prompts, known.resources, known.templates), strict=True))

    def offered(self, seen: Seen) -> frozenset[Offer]:
        """What the members can do for whoever sees `seen` of this endpoint: an offer counts where it is about something
        of its server that is seen, or where there is nothing yet to be seen. Tools are always offered, but to those
        who see none of them.
        """
        everything = self.entries()
        named = {kind: _servers(everything, kind) for kind in _KINDS}
        shown = {kind: _servers(seen, kind) for kind in _KINDS}
        found: set[Offer] = set()
        for server, offers in self.offers.items():
            for offer in offers - found:
                kinds = _ABOUT.get(offer, _KINDS)
                there = any(server in named[kind] for kind in kinds)
                if not there or any(server in shown[kind] for kind in kinds):
                    found.add(offer)
        found.discard("tools")
        if seen["tools"] or not everything["tools"]:
            found.add("tools")
        return frozenset(found)

    def without(self, hidden: frozenset[str]) -> "EndpointView":
        """This endpoint as it speaks of itself to those who see nothing of some of its servers."""
        known = self.catalogue
        if not hidden.intersection((*known.unavailable, *known.server_instructions)):
            return self
        said = {server: text for server, text in known.server_instructions.items() if server not in hidden}
        spoken = msgspec.structs.replace(
            known,
            unavailable=tuple(server for server in known.unavailable if server not in hidden),
            instructions=composed_instructions(known.own_instructions, said),
            server_instructions=said,
        )
        return replace(self, catalogue=spoken, digest=digest(self.digest + "\0".join(sorted(hidden)).encode()))

    def narrowed(self, server: str) -> "EndpointView | None":
        """This endpoint as if `server` were its only member, under the same names; None: it is none."""
        if server not in members(self.catalogue):
            return None
        found = self._narrow.get(server)
        if found is None:
            key = digest(self.digest + server.encode())
            found = self._narrow[server] = _view(_narrowed(self.catalogue, server), key, self.offers)
        return found


def view(catalogue: Catalogue, part_digest: bytes, backends: dict[str, Backend]) -> EndpointView:
    """Raises ValueError for a template that cannot be read."""
    offers = {server: frozenset(backends[server].offers) for server in members(catalogue) if server in backends}
    return _view(catalogue, part_digest, offers)


def members(catalogue: Catalogue) -> tuple[str, ...]:
    return catalogue.servers or tuple(dict.fromkeys(tool.server for tool in catalogue.tools))


def _view(catalogue: Catalogue, part_digest: bytes, offers: dict[str, frozenset[Offer]]) -> EndpointView:
    templates = sorted(((Template(t.name), t) for t in catalogue.templates), key=lambda pair: -pair[0].literals)
    resources = (*catalogue.resources, *catalogue.templates)
    own: dict[str, set[str]] = {}
    for entry in catalogue.resources:
        own.setdefault(entry.server, set()).add(entry.upstream_name)
    return EndpointView(
        catalogue=catalogue,
        tools={tool.name: tool for tool in catalogue.tools},
        digest=part_digest,
        prompts={prompt.name: prompt for prompt in catalogue.prompts},
        resources={entry.name: entry for entry in catalogue.resources},
        offers={server: offers[server] for server in members(catalogue) if server in offers},
        renames=len(members(catalogue)) > 1 or any(entry.name != entry.upstream_name for entry in resources),
        _templates=tuple(templates),
        _own={server: frozenset(listed) for server, listed in own.items()},
    )


def _narrowed(catalogue: Catalogue, server: str) -> Catalogue:
    said = catalogue.server_instructions.get(server)
    return msgspec.structs.replace(
        catalogue,
        tools=tuple(one for one in catalogue.tools if one.server == server),
        prompts=tuple(one for one in catalogue.prompts if one.server == server),
        resources=tuple(one for one in catalogue.resources if one.server == server),
        templates=tuple(one for one in catalogue.templates if one.server == server),
        unlisted=tuple(one for one in catalogue.unlisted if one.server == server),
        servers=(server,),
        unavailable=(server,) if server in catalogue.unavailable else (),
        instructions=composed_instructions(catalogue.own_instructions, {server: said} if said else {}),
        server_instructions={server: said} if said else {},
    )


def _servers(some: Seen, kind: str) -> frozenset[str]:
    return frozenset(entry.server for entry in some[kind])


def _named(entry: CompiledResource, name: str, upstream_name: str) -> CompiledResource:
    return msgspec.structs.replace(entry, name=name, upstream_name=upstream_name)
