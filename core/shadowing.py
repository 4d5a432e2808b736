"""Tools that pass for another server's, or speak of them: what lets one server steer the calls meant for another."""

import re
from collections.abc import Iterator, Mapping

import msgspec

from core.firewall_readings import normal

TOLD = 50
"""Most that is told of one endpoint."""
NEAR_CHARS = 8
"""Names this long are alike if they differ in one character; shorter ones often do by chance."""
_WORD = re.compile(r"[A-Za-z0-9]+(?:[_\-.][A-Za-z0-9]+)+|[a-z]+(?:[A-Z][a-z0-9]+)+")
"""What nobody writes but to name a tool: words put together."""
_NOT_NAME = re.compile(r"[^a-z0-9]")


class Shadow(msgspec.Struct, frozen=True, order=True):
    """A tool and the other server's tool it is in the way of."""

    server: str
    tool: str
    other_server: str
    other_tool: str
    why: str
    """"same name", "similar name" or "its definition speaks of it"."""


def shadows(servers: Mapping[str, Mapping[str, bytes]]) -> list[Shadow]:
    """Server to its tools' names and definitions (JSON). In order; at most TOLD."""
    found = {*_alike(servers), *_spoken_of(servers)}
    return sorted(found)[:TOLD]


def _alike(servers: Mapping[str, Mapping[str, bytes]]) -> Iterator[Shadow]:
    same: dict[str, list[tuple[str, str]]] = {}
    near: dict[str, list[tuple[str, str, str]]] = {}
    for server, tools in servers.items():
        for tool in tools:
            plain = _NOT_NAME.sub("", normal(tool))
            for other_server, other_tool in same.setdefault(plain, []):
                if other_server != server:
                    yield Shadow(server, tool, other_server, other_tool, "same name")
            same[plain].append((server, tool))
            for short in _without_one(plain):
                for other, other_server, other_tool in near.setdefault(short, []):
                    if other_server != server and other != plain:
                        yield Shadow(server, tool, other_server, other_tool, "similar name")
                near[short].append((plain, server, tool))


def _without_one(name: str) -> set[str]:
    """The name, and all that is left of it with one character less: those of two names that differ in one meet here."""
    if len(name) < NEAR_CHARS:
        return set()
    return {name, *(name[:at] + name[at + 1 :] for at in range(len(name)))}


def _spoken_of(servers: Mapping[str, Mapping[str, bytes]]) -> Iterator[Shadow]:
    owners: dict[str, set[str]] = {}
    for server, tools in servers.items():
        for tool in tools:
            owners.setdefault(tool, set()).add(server)
    for server, tools in servers.items():
        for tool, definition in tools.items():
            words = set(_WORD.findall(definition.decode(errors="replace")))
            for word in words & owners.keys():
                for other in owners[word] - {server}:
                    if server not in owners[word]:
                        yield Shadow(server, tool, other, word, "its definition speaks of it")
