"""What a tenant's servers have to show, ready to be put on an endpoint under any name."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from control_plane.compiler.definition import HeaderRefused, claims_read_only, header_params, renamed, respelled
from control_plane.compiler.source import Dropped, Source
from core.definition import Known
from core.endpoint import Member
from core.naming import Named, selected
from core.offering import KINDS, Kind
from core.resource import Ref
from core.server import ApprovedTool, Server, ToolOverlay
from core.snapshot import CompiledPrompt, CompiledResource, CompiledTool

INSTRUCTIONS_CHARS = 4096
"""Of one server's instructions in those of an endpoint."""

_NOTHING_SAID = ToolOverlay()
_UNSEEN = Known()


class Shelf:
    """Tools no client may see are put aside in `dropped`."""

    def __init__(self, source: Source, held: AbstractSet[Ref]) -> None:
        """`held`: servers among them have something to show only if they served before."""
        self.dropped: list[Dropped] = []
        self._before = {r.name: source.previous.backends.get(r.name) for r, _ in source.of(Server) if r.ref in held}
        self._servers = {
            r.name: (r, spec)
            for r, spec in source.of(Server)
            if not spec.disabled and (r.ref not in held or self._before[r.name])
        }
        self._known = {name: source.known.get(name, _UNSEEN) for name in self._servers}
        self._tools = {
            name: {tool.name: (tool, headers) for tool, headers in self._sound(name, known.approved())}
            for name, known in self._known.items()
        }
        self._entries: dict[Kind, dict[str, dict[str, bytes]]] = {
            kind: {
                name: {entry.name: entry.definition for entry in known.offering.of(kind)}
                for name, known in self._known.items()
            }
            for kind in KINDS
        }
        self.offered = {name: list(tools) for name, tools in self._tools.items()}

    def definitions(self, members: Sequence[Member]) -> dict[str, dict[str, bytes]]:
        """Each member's tools with the definitions in force, of those that the endpoint shows."""
        return {
            member.server: {
                name: self._tools[member.server][name][0].definition
                for name in selected(member, self.offered[member.server])
            }
            for member in members
            if member.server in self._tools
        }

    def entries(self, kind: Kind) -> dict[str, list[str]]:
        """Server to the names of its prompts, or its URIs, or its templates."""
        return {server: list(entries) for server, entries in self._entries[kind].items()}

    def members(self, members: Sequence[Member]) -> tuple[str, ...]:
        """Those that are there, in their order."""
        return tuple(member.server for member in members if member.server in self._servers)

    def unavailable(self, members: Sequence[Member]) -> tuple[str, ...]:
        return tuple(name for name in self.members(members) if self._known[name].unavailable)

    def instructions(self, members: Sequence[Member]) -> dict[str, str]:
        """What each member says of itself, cut where it says much."""
        said = {name: self._known[name].look.instructions.strip() for name in self.members(members)}
        return {name: text[:INSTRUCTIONS_CHARS] for name, text in said.items() if text}

    def _sound(self, server: str, tools: Iterable[ApprovedTool]) -> Iterator[tuple[ApprovedTool, dict[str, str]]]:
        for tool in tools:
            try:
                yield tool, header_params(tool.definition)
            except HeaderRefused as problem:
                self.dropped.append(Dropped(server, tool.name, str(problem)))

    def tool(self, row: Named, member: Member, pages: dict[str, str]) -> CompiledTool:
        """`pages`: exposed URI of each resource of the server that has another one than its own."""
        tool, headers = self._tools[row.server][row.tool]
        resource, server = self._servers[row.server]
        overlay = server.tools.get(row.tool, _NOTHING_SAID)
        read_only = claims_read_only(tool.definition) if overlay.read_only is None else overlay.read_only
        before = self._before.get(row.server)
        return CompiledTool(
            name=row.name,
            server=row.server,
            upstream_name=row.tool,
            definition=respelled(tool.definition, row.name, row.tool, member.descriptions.get(row.tool), pages),
            digest=tool.digest,
            risk=overlay.risk or server.risk,
            labels={**resource.labels, **overlay.labels},
            read_only=read_only,
            timeout_s=before.timeout_s if before else overlay.timeout_s or server.timeout_s,
            cost=overlay.cost,
            header_params=headers,
        )

    def prompt(self, row: Named) -> CompiledPrompt:
        resource, server = self._servers[row.server]
        return CompiledPrompt(
            name=row.name,
            server=row.server,
            upstream_name=row.tool,
            definition=renamed(self._entries["prompts"][row.server][row.tool], "name", row.name, row.tool),
            risk=server.risk,
            labels=resource.labels,
            timeout_s=self._timeout_s(row.server),
        )

    def resource(self, row: Named, kind: Kind) -> CompiledResource:
        resource, server = self._servers[row.server]
        member = "uri" if kind == "resources" else "uriTemplate"
        return CompiledResource(
            name=row.name,
            server=row.server,
            upstream_name=row.tool,
            definition=renamed(self._entries[kind][row.server][row.tool], member, row.name, row.tool),
            risk=server.risk,
            labels=resource.labels,
            timeout_s=self._timeout_s(row.server),
        )

    def unlisted(self, members: Sequence[Member]) -> Iterator[CompiledResource]:
        """Of members with resources that all may be read of: what stands for those they do not list."""
        chosen = {member.server for member in members if "*" in member.resources}
        for name in self.members(members):
            resource, server = self._servers[name]
            if name in chosen and "resources" in self._known[name].offering.offers:
                yield CompiledResource(
                    name="",
                    server=name,
                    upstream_name="",
                    definition=b"",
                    risk=server.risk,
                    labels=resource.labels,
                    timeout_s=self._timeout_s(name),
                )

    def _timeout_s(self, server: str) -> float:
        before = self._before.get(server)
        return before.timeout_s if before else self._servers[server][1].timeout_s
