"""How an endpoint names the tools of its members: short, unique, and stable when members are added.

Names are decided in listing order, so a member added at the end never renames what is already there. Renames are taken
as they are; everything else may be prefixed, and cut with a hash where it is too long or holds foreign characters.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Literal

import msgspec

from core.endpoint import NAME_BUDGET, TOOL_NAME, Endpoint, Member
from core.resource import Problem

SEPARATOR = "__"
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]")
_HASH_CHARS = 8

PrefixMode = Literal["never", "on_collision", "always"]


class Named(msgspec.Struct, frozen=True):
    """One row of the reversible table: the exposed name, and whose tool it is."""

    name: str
    server: str
    tool: str


class Naming(msgspec.Struct, frozen=True):
    """`tools` is in listing order and complete but for what `problems` tells of; paths start at `spec`."""

    tools: tuple[Named, ...]
    problems: tuple[Problem, ...]


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


def _chosen(globs: list[str], names: set[str]) -> set[str]:
    """Those that any of the globs names."""
    if not globs or "*" in globs:
        return names if globs else set()
    return {name for name in names if any(fnmatchcase(name, glob) for glob in globs)}


def name_tools(endpoint: Endpoint, offered: dict[str, list[str]]) -> Naming:
    """Exposed names for `offered` (server to tool names). A member whose server offers nothing yet is simply empty."""
    table = _Table(endpoint.prefix)
    for index, member in enumerate(endpoint.members):
        table.add(f"spec.members[{index}]", member, selected(member, offered.get(member.server, ())))
    return Naming(tuple(table.rows), tuple(table.problems))


class _Table:
    """Names as they are given away, member by member."""

    def __init__(self, mode: PrefixMode) -> None:
        self.rows: list[Named] = []
        self.problems: list[Problem] = []
        self._mode = mode
        self._taken: dict[str, Named] = {}

    def add(self, path: str, member: Member, tools: list[str]) -> None:
        """Renames are claimed first: within a member, what was asked for literally wins over what was not."""
        first = len(self.rows)
        for tool in tools:
            if tool in member.rename:
                self._claim(f"{path}.rename.{tool}", Named(member.rename[tool], member.server, tool))
        for tool in tools:
            if tool not in member.rename:
                self._claim(path, Named(self._unrenamed(member, tool), member.server, tool))
        self.rows[first:] = sorted(self.rows[first:], key=lambda row: row.tool)

    def _unrenamed(self, member: Member, tool: str) -> str:
        bare = fit(tool)
        if self._mode == "never" or (self._mode == "on_collision" and bare not in self._taken):
            return bare
        return fit(f"{member.prefix or member.server}{SEPARATOR}{tool}")

    def _claim(self, path: str, row: Named) -> None:
        owner = self._taken.setdefault(row.name, row)
        if owner is row:
            self.rows.append(row)
        else:
            self.problems.append(Problem(path, _clash(self._mode, row, owner)))


def _clash(mode: PrefixMode, row: Named, owner: Named) -> str:
    remedy = "rename one of them" + (", or set spec.prefix to on_collision" if mode == "never" else "")
    taken = f"already tool {owner.tool!r} of server {owner.server!r}"
    return f"tool {row.tool!r} would be {row.name!r}, which is {taken}: {remedy}"
