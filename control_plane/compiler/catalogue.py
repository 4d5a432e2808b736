"""Endpoints: which tools they show, under which names, with what the tenant says of them."""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

import msgspec

from control_plane.compiler.definition import HeaderRefused, claims_read_only, header_params, respelled
from control_plane.compiler.source import Dropped, Found, Parts, Source, found_in
from core.endpoint import Endpoint, Member
from core.naming import Named, name_tools, selected
from core.resource import Ref, Resource
from core.server import ApprovedTool, Server, ToolOverlay
from core.snapshot import Catalogue, CompiledTool


class Shelf:
    """The tools a tenant's servers have to show; those no client may see are put aside in `dropped`."""

    def __init__(self, source: Source, held: AbstractSet[Ref]) -> None:
        """`held`: servers among them have something to show only if they served before."""
        self.dropped: list[Dropped] = []
        self._before = {r.name: source.previous.backends.get(r.name) for r, _ in source.of(Server) if r.ref in held}
        self._servers = {
            r.name: (r, spec)
            for r, spec in source.of(Server)
            if not spec.disabled and (r.ref not in held or self._before[r.name])
        }
        self._tools = {
            name: {tool.name: (tool, headers) for tool, headers in self._sound(name, source.known[name].approved())}
            for name in self._servers
            if name in source.known
        }
        self.offered = {name: list(tools) for name, tools in self._tools.items()}

    def _sound(self, server: str, tools: Iterable[ApprovedTool]) -> Iterator[tuple[ApprovedTool, dict[str, str]]]:
        for tool in tools:
            try:
                yield tool, header_params(tool.definition)
            except HeaderRefused as problem:
                self.dropped.append(Dropped(server, tool.name, str(problem)))

    def compiled(self, row: Named, member: Member) -> CompiledTool:
        tool, headers = self._tools[row.server][row.tool]
        resource, server = self._servers[row.server]
        overlay = server.tools.get(row.tool, _NOTHING_SAID)
        read_only = claims_read_only(tool.definition) if overlay.read_only is None else overlay.read_only
        before = self._before.get(row.server)
        return CompiledTool(
            name=row.name,
            server=row.server,
            upstream_name=row.tool,
            definition=respelled(tool.definition, row.name, row.tool, member.descriptions.get(row.tool)),
            digest=tool.digest,
            risk=overlay.risk or server.risk,
            labels={**resource.labels, **overlay.labels},
            read_only=read_only,
            timeout_s=before.timeout_s if before else overlay.timeout_s or server.timeout_s,
            header_params=headers,
        )


_NOTHING_SAID = ToolOverlay()


def compile_catalogues(source: Source, shelf: Shelf, held: AbstractSet[Ref], parts: Parts) -> list[Found]:
    """One part per endpoint that is not disabled; what is wrong with the names any would show its tools under."""
    found: list[Found] = []
    for resource, endpoint in source.of(Endpoint):
        if endpoint.disabled:
            continue
        naming = name_tools(endpoint, shelf.offered)
        found += found_in(resource.ref, naming.problems)
        catalogue: Catalogue | None
        if naming.problems or resource.ref in held:
            before = source.previous.catalogues.get(resource.name)
            catalogue = _as_before(before, resource, endpoint, shelf) if before else None
        else:
            catalogue = _compiled(naming.tools, resource, endpoint, shelf)
        if catalogue is not None:
            parts.add("catalogue", catalogue, resource.name)
    return found


def _compiled(rows: Iterable[Named], resource: Resource, endpoint: Endpoint, shelf: Shelf) -> Catalogue:
    members = {member.server: member for member in endpoint.members}
    return Catalogue(
        endpoint=resource.name,
        namespace=resource.namespace,
        tools=tuple(shelf.compiled(row, members[row.server]) for row in rows),
        instructions=endpoint.instructions,
        allowed_origins=tuple(endpoint.allowed_origins),
        max_body_bytes=endpoint.max_body_bytes,
    )


def _as_before(before: Catalogue, resource: Resource, endpoint: Endpoint, shelf: Shelf) -> Catalogue:
    """The names as they were, less what is not selected or not there any more.

    What is said of a tool is what is declared now: its risk and labels decide who may call it.
    """
    shown = {(m.server, tool) for m in endpoint.members for tool in selected(m, shelf.offered.get(m.server, ()))}
    rows = [Named(t.name, t.server, t.upstream_name) for t in before.tools if (t.server, t.upstream_name) in shown]
    return msgspec.structs.replace(
        _compiled(rows, resource, endpoint, shelf),
        instructions=before.instructions,
        allowed_origins=tuple(origin for origin in before.allowed_origins if origin in endpoint.allowed_origins),
        max_body_bytes=before.max_body_bytes,
    )
