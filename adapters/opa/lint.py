"""What a tenant's Rego may not do, found in its syntax tree (`opa parse --format json --json-include locations`)."""

from collections.abc import Iterator
from typing import NamedTuple

Json = object

_SETS = {
    "deny": '`deny` must be a set of reasons: `deny contains "reason" if { ... }`',
    "oblige": '`oblige` must be a set of obligations: `oblige contains "approval" if { ... }`',
}


class Flaw(NamedTuple):
    line: int
    rule: str


def flaws(tree: Json, package: tuple[str, ...]) -> Iterator[Flaw]:
    """Of a policy's module: its package, its `deny`, and any look at data outside the package."""
    if tree is None:
        return
    yield from package_flaws(tree, (package,))
    rules = _list(_get(tree, "rules"))
    yield from _deny_flaws(rules)
    for part in (rules, _get(tree, "imports")):
        yield from _data_flaws(part, package)


def package_flaws(tree: Json, allowed: tuple[tuple[str, ...], ...]) -> Iterator[Flaw]:
    if tree is None:
        return
    path = _path(_get(_get(tree, "package"), "path"))
    if path[1:] not in allowed:
        names = " or ".join(".".join(package) for package in allowed)
        yield Flaw(_line(_get(tree, "package")), f"the package must be {names}, not {'.'.join(map(str, path[1:]))}")


def _deny_flaws(rules: list[Json]) -> Iterator[Flaw]:
    heads = {
        name: [r for r in rules if _path(_get(_get(r, "head"), "ref"))[:1] == (name,)] for name in ("deny", "oblige")
    }
    if not any(heads.values()):
        yield Flaw(1, "declares neither `deny contains ...` nor `oblige contains ...`: it would refuse nothing")
    for name, rule in ((name, rule) for name, found in heads.items() for rule in found):
        head = _get(rule, "head")
        is_set = _get(head, "key") is not None and _get(head, "value") is None and len(_list(_get(head, "ref"))) == 1
        if not is_set or _get(rule, "default") is True:
            yield Flaw(_line(rule), _SETS[name])


def _data_flaws(part: Json, package: tuple[str, ...]) -> Iterator[Flaw]:
    """A reference is a list of terms, whose first is `data`; anything else that says `data` is all of it."""
    if isinstance(part, dict):
        inner = part.get("value")
        if part.get("type") == "ref" and isinstance(inner, list) and inner:
            if _path(inner[:1]) == ("data",) and _path(inner)[1 : len(package) + 1] != package:
                yield Flaw(_line(part), f"may refer to data only below data.{'.'.join(package)}")
            yield from _data_flaws(inner[1:], package)
            return
        if part.get("type") == "var" and inner == "data":
            yield Flaw(_line(part), f"may refer to data only below data.{'.'.join(package)}")
        for value in part.values():
            yield from _data_flaws(value, package)
    elif isinstance(part, list):
        for item in part:
            yield from _data_flaws(item, package)


def _path(terms: Json) -> tuple[object, ...]:
    """The constants of a reference; a variable or expression in it is None, and equals nothing."""
    head, *rest = _list(terms) or [None]
    constants = (_get(term, "value") if _get(term, "type") == "string" else None for term in rest)
    return (_get(head, "value") if _get(head, "type") == "var" else None, *constants)


def _line(node: Json) -> int:
    row = _get(_get(node, "location"), "row")
    if isinstance(row, int):
        return row
    inner = _get(node, "head") or _list(_get(node, "value"))[:1]
    return _line(inner[0] if isinstance(inner, list) and inner else inner) if inner else 1


def _get(node: Json, key: str) -> Json:
    return node.get(key) if isinstance(node, dict) else None


def _list(node: Json) -> list[Json]:
    return node if isinstance(node, list) else []
