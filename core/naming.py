"""How an endpoint names what its members offer: short, unique, and stable when members are added.

Names are decided in listing order, so a member added at the end never renames what is already there. Renames are taken
as they are; everything else may be prefixed, and cut with a hash where it is too long or holds foreign characters.
Tools and prompts have the same rules and do not meet; resources keep their URIs (see `core.uris`).
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Literal

import msgspec

from core import uris
from core.endpoint import NAME_BUDGET, TOOL_NAME, Endpoint, Member
from core.resource import Problem

SEPARATOR = "__"
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]")
_HASH_CHARS = 8

PrefixMode = Literal["never", "on_collision", "always"]
Noun = Literal["tool", "prompt"]


class Named(msgspec.Struct, frozen=True):
    """One row of the reversible table: the exposed name or URI, and whose it is."""

    name: str
    server: str
    tool: str
    """The name at the server: of a tool or prompt, or a URI or template."""


class Naming(msgspec.Struct, frozen=True):
    """`tools` is in listing order and complete but for what `problems` tells of; paths start at `spec`."""

    tools: tuple[Named, ...]
    problems: tuple[Problem, ...]


class Placing(msgspec.Struct, frozen=True):
    """`rows` is in listing order; `lost`: those whose rewritten URI is taken as well."""

    rows: tuple[Named, ...]
    lost: tuple[Named, ...]


def fit(name: str) -> str:
    """`name` itself if it may be exposed; else cleaned and cut, ending in a hash of the whole, always the same."""
    if TOOL_NAME.fullmatch(name):
        return name
    tail = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_HASH_CHARS // 2).hexdigest()
    return f"{_FOREIGN.sub('_', name)[: NAME_BUDGET - _HASH_CHARS - 1]}_{tail}"


def selected(member: Member, tools: Iterable[str]) -> list[str]:
    """The tools of a server that a member shows, sorted."""
    included = _chosen(member.include, set(tools))
    return sorted(included - _chosen(member.exclude, included))


def selected_prompts(member: Member, prompts: Iterable[str]) -> list[str]:
    return sorted(_chosen(member.prompts, set(prompts)))


def selected_resources(member: Member, uris_or_templates: Iterable[str]) -> list[str]:
    return sorted(_chosen(member.resources, set(uris_or_templates)))


def _chosen(globs: list[str], names: set[str]) -> set[str]:
    """Those that any of the globs names."""
    if not globs or "*" in globs:
        return names if globs else set()
    return {name for name in names if any(fnmatchcase(name, glob) for glob in globs)}


def name_tools(endpoint: Endpoint, offered: dict[str, list[str]]) -> Naming:
    """Exposed names for `offered` (server to tool names). A member whose server offers nothing yet is simply empty."""
    table = _Table(endpoint.prefix, "tool")
    for index, member in enumerate(endpoint.members):
        tools = selected(member, offered.get(member.server, ()))
        table.add(f"spec.members[{index}]", member, tools, member.rename)
    return Naming(tuple(table.rows), tuple(table.problems))


def name_prompts(endpoint: Endpoint, offered: dict[str, list[str]]) -> Naming:
    """The same for prompts."""
    table = _Table(endpoint.prefix, "prompt")
    for index, member in enumerate(endpoint.members):
        prompts = selected_prompts(member, offered.get(member.server, ()))
        table.add(f"spec.members[{index}]", member, prompts, member.rename_prompts)
    return Naming(tuple(table.rows), tuple(table.problems))


def place_resources(endpoint: Endpoint, offered: dict[str, list[str]]) -> Placing:
    """Exposed URIs for `offered` (server to URIs, or to templates): their own where no earlier member has the same."""
    taken: dict[str, Named] = {}
    lost: list[Named] = []
    for member in endpoint.members:
        for uri in selected_resources(member, offered.get(member.server, ())):
            name = uri if uri not in taken else uris.exposed(member.server, uri)
            row = Named(name, member.server, uri)
            if taken.setdefault(name, row) is not row:
                lost.append(row)
    return Placing(tuple(taken.values()), tuple(lost))


class _Table:
    """Names as they are given away, member by member."""

    def __init__(self, mode: PrefixMode, noun: Noun) -> None:
        self.rows: list[Named] = []
        self.problems: list[Problem] = []
        self._mode = mode
        self._noun = noun
        self._taken: dict[str, Named] = {}

    def add(self, path: str, member: Member, names: list[str], renames: dict[str, str]) -> None:
        """Renames are claimed first: within a member, what was asked for literally wins over what was not."""
        first = len(self.rows)
        field = "rename" if self._noun == "tool" else "rename_prompts"
        for name in names:
            if name in renames:
                self._claim(f"{path}.{field}.{name}", Named(renames[name], member.server, name))
        for name in names:
            if name not in renames:
                self._claim(path, Named(self._unrenamed(member, name), member.server, name))
        self.rows[first:] = sorted(self.rows[first:], key=lambda row: row.tool)

    def _unrenamed(self, member: Member, name: str) -> str:
        bare = fit(name)
        if self._mode == "never" or (self._mode == "on_collision" and bare not in self._taken):
            return bare
        return fit(f"{member.prefix or member.server}{SEPARATOR}{name}")

    def _claim(self, path: str, row: Named) -> None:
        owner = self._taken.setdefault(row.name, row)
        if owner is row:
            self.rows.append(row)
        else:
            self.problems.append(Problem(path, self._clash(row, owner)))

    def _clash(self, row: Named, owner: Named) -> str:
        never = self._mode == "never"
        remedy = "rename one of them" + (", or set spec.prefix to on_collision" if never else "")
        taken = f"already {self._noun} {owner.tool!r} of server {owner.server!r}"
        return f"{self._noun} {row.tool!r} would be {row.name!r}, which is {taken}: {remedy}"
