"""Definitions as agents see them: renamed and re-described, all else byte for byte as it was approved."""

import re
from collections.abc import Iterator, Mapping
from typing import cast

import msgspec

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ANNOTATION = "x-mcp-header"
_MAY_CARRY = ("string", "integer", "boolean")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SINGLES = (
    "items",
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])

Json = object


class _Annotations(msgspec.Struct, frozen=True):
    readOnlyHint: object = None  # noqa: N815 (the protocol's spelling)


class _Claims(msgspec.Struct, frozen=True):
    annotations: _Annotations | None = None


class _Input(msgspec.Struct, frozen=True):
    inputSchema: msgspec.Raw  # noqa: N815 (the protocol's spelling)


_claims = msgspec.json.Decoder(_Claims)
_input = msgspec.json.Decoder(_Input)


class HeaderRefused(Exception):
    """An `x-mcp-header` annotation breaks a rule: clients must not be shown the tool."""


def respelled(
    definition: bytes, name: str, upstream_name: str, description: str | None, pages: Mapping[str, str] | None = None
) -> bytes:
    """The definition with these members replaced; every other member keeps its bytes and its place.

    `pages`: URI to exposed URI, for the page of an app that the tool names in its `_meta`.
    """
    moved = _moved(definition, pages) if pages and b'"ui' in definition else {}
    if name == upstream_name and description is None and not moved:
        return definition
    members = _members.decode(definition)
    members["name"] = msgspec.Raw(msgspec.json.encode(name))
    if description is not None:
        members["description"] = msgspec.Raw(msgspec.json.encode(description))
    members.update(moved)
    return msgspec.json.encode(members)


def renamed(definition: bytes, member: str, name: str, upstream_name: str) -> bytes:
    """The definition of a prompt, resource or template with the member it is known by replaced."""
    if name == upstream_name:
        return definition
    members = _members.decode(definition)
    members[member] = msgspec.Raw(msgspec.json.encode(name))
    return msgspec.json.encode(members)


def _moved(definition: bytes, pages: Mapping[str, str]) -> dict[str, msgspec.Raw]:
    """`_meta` with its `ui.resourceUri`, and the older `ui/resourceUri`, exposed. Empty: there is nothing to change."""
    try:
        meta = _members.decode(_members.decode(definition)["_meta"])
        ui = _members.decode(meta["ui"]) if "ui" in meta else {}
    except (KeyError, msgspec.MsgspecError):
        return {}
    changed = False
    for holder, key in ((ui, "resourceUri"), (meta, "ui/resourceUri")):
        exposed = pages.get(_text(holder.get(key)))
        if exposed is not None:
            holder[key] = msgspec.Raw(msgspec.json.encode(exposed))
            changed = True
    if not changed:
        return {}
    if ui:
        meta["ui"] = msgspec.Raw(msgspec.json.encode(ui))
    return {"_meta": msgspec.Raw(msgspec.json.encode(meta))}


def _text(raw: msgspec.Raw | None) -> str:
    return msgspec.json.decode(raw, type=str) if raw is not None and bytes(raw)[:1] == b'"' else ""


def claims_read_only(definition: bytes) -> bool:
    """The upstream's `readOnlyHint`; anything that is no plain `true` is no claim."""
    if b"readOnlyHint" not in definition:
        return False
    try:
        annotations = _claims.decode(definition).annotations
    except msgspec.ValidationError:
        return False
    return annotations is not None and annotations.readOnlyHint is True


def header_params(definition: bytes) -> dict[str, str]:
    """Argument path (dotted) to the token of its `Mcp-Param-` header. Raises HeaderRefused.

    MCP 2026-07-28, Transports, "Custom Headers from Tool Parameters": a token, unique whatever its case, on a string,
    integer or boolean reached from the root through `properties` alone.
    """
    if b"x-mcp-header" not in definition and b"\\u" not in definition:
        return {}
    schema = msgspec.json.decode(_input.decode(definition).inputSchema)
    found: dict[str, str] = {}
    tokens: set[str] = set()
    for path, position in _positions(schema, ()):
        if _ANNOTATION not in position:
            continue
        dotted, token = _annotation(path, position)
        if token.lower() in tokens:
            raise HeaderRefused(f"{_ANNOTATION} {token!r} is used twice")
        tokens.add(token.lower())
        found[dotted] = token
    return found


def _annotation(path: tuple[str, ...] | None, position: dict[str, Json]) -> tuple[str, str]:
    if not path:
        raise HeaderRefused(f"{_ANNOTATION} stands where `properties` alone do not lead")
    where = ".".join(path)
    token = position[_ANNOTATION]
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise HeaderRefused(f"{_ANNOTATION} of {where!r} is no header token")
    if position.get("type") not in _MAY_CARRY:
        raise HeaderRefused(f"{_ANNOTATION} of {where!r}: the type must be string, integer or boolean")
    if any("." in step for step in path):
        raise HeaderRefused(f"{_ANNOTATION} of {where!r}: the property's name holds a dot")
    return where, token


def _positions(schema: Json, path: tuple[str, ...] | None) -> Iterator[tuple[tuple[str, ...] | None, dict[str, Json]]]:
    """Every schema inside `schema`, itself included, with its path; None once off the chain of `properties`."""
    if not isinstance(schema, dict):
        return
    fields = cast(dict[str, Json], schema)
    yield path, fields
    for keyword in _MAPS:
        inner = fields.get(keyword)
        if isinstance(inner, dict):
            for name, sub in inner.items():
                yield from _positions(sub, (*path, name) if keyword == "properties" and path is not None else None)
    for keyword in _LISTS:
        inner = fields.get(keyword)
        if isinstance(inner, list):
            for sub in inner:
                yield from _positions(sub, None)
    for keyword in _SINGLES:
        yield from _positions(fields.get(keyword), None)
