"""Endpoints: which tools they show, under which names, with what the tenant says of them."""

from collections.abc import Iterable, Iterator

from control_plane.compiler.definition import HeaderRefused, claims_read_only, header_params, respelled
from control_plane.compiler.source import Dropped, Found, Parts, Source, found_in
from core.endpoint import Endpoint, Member
from core.naming import Named, name_tools
from core.resource import Ref, Resource
from core.server import ApprovedTool, Server, ToolOverlay
from core.snapshot import Catalogue, CompiledTool


class Shelf:
    """The tools a tenant's servers have to show; those no client may see are put aside in `dropped`."""

    def __init__(self, source: Source) -> None:
        self.dropped: list[Dropped] = []
        self._servers = {r.name: (r, spec) for r, spec in source.of(Server) if not spec.disabled}
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
        return CompiledTool(
            name=row.name,
            server=row.server,
            upstream_name=row.tool,
            definition=respelled(tool.definition, row.name, row.tool, member.descriptions.get(row.tool)),
            digest=tool.digest,
            risk=overlay.risk or server.risk,
            labels={**resource.labels, **overlay.labels},
            read_only=read_only,
            timeout_s=overlay.timeout_s or server.timeout_s,
            header_params=headers,
        )


_NOTHING_SAID = ToolOverlay()


def compile_catalogues(source: Source, parts: Parts) -> tuple[list[Found], list[Dropped]]:
    """One part per endpoint that is not disabled; what is wrong with any; tools left out."""
    shelf = Shelf(source)
    found: list[Found] = []
    for resource, endpoint in source.of(Endpoint):
        if not endpoint.disabled:
            found += _compile(source.tenant, resource, endpoint, shelf, parts)
    return found, shelf.dropped


def _compile(tenant: str, resource: Resource, endpoint: Endpoint, shelf: Shelf, parts: Parts) -> Iterator[Found]:
    naming = name_tools(endpoint, shelf.offered)
    members = {member.server: member for member in endpoint.members}
    tools = tuple(shelf.compiled(row, members[row.server]) for row in naming.tools)
    catalogue = Catalogue(
        endpoint=resource.name,
        namespace=resource.namespace,
        tools=tools,
        instructions=endpoint.instructions,
        allowed_origins=tuple(endpoint.allowed_origins),
        max_body_bytes=endpoint.max_body_bytes,
    )
    parts.add("catalogue", catalogue, resource.name)
    return found_in(Ref("Endpoint", tenant, resource.name), naming.problems)
