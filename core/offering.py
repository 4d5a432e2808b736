"""What a server offers besides tools, taken as it was last seen: nothing of it acts before somebody asks for it."""

import re
from collections.abc import Iterable
from typing import Literal, cast, get_args

import msgspec

from core.resource import digest
from core.server import Observation, ObservedEntry
from core.snapshot import Offer
from core.uri_template import Template

Kind = Literal["prompts", "resources", "templates"]
KINDS: tuple[Kind, ...] = ("prompts", "resources", "templates")
MOST: dict[Kind, int] = {"prompts": 1000, "resources": 5000, "templates": 500}
"""Of one server; what comes after is left out."""
ENTRY_BYTES = 64 * 1024
OFFERING_BYTES = 4 * 1024 * 1024
"""All definitions of one server together."""
MAX_NAME = 256
MAX_URI = 2048

_KEYS: dict[Kind, str] = {"prompts": "name", "resources": "uri", "templates": "uriTemplate"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.")
_OFFERS: frozenset[str] = frozenset(get_args(Offer))
_canonical = msgspec.json.Encoder(order="sorted")


class Offering(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Entries are sorted by name: a server that lists them in another order each time offers the same."""

    prompts: tuple[ObservedEntry, ...] = ()
    resources: tuple[ObservedEntry, ...] = ()
    templates: tuple[ObservedEntry, ...] = ()
    offers: tuple[Offer, ...] = ()

    def of(self, kind: Kind) -> tuple[ObservedEntry, ...]:
        if kind == "prompts":
            return self.prompts
        return self.resources if kind == "resources" else self.templates


def offered(known: Offering, seen: Observation) -> tuple[Offering, list[str]]:
    """What is offered after a look that succeeded, and what of it cannot be used with the reason.

    A list that could not be had is as it was; so is a definition that differs in spacing alone.
    """
    room = _Room()
    lists: dict[Kind, tuple[ObservedEntry, ...]] = {}
    for kind in KINDS:
        fresh = {"prompts": seen.prompts, "resources": seen.resources, "templates": seen.templates}[kind]
        lists[kind] = known.of(kind) if kind in seen.unlisted else room.admitted(kind, fresh, known.of(kind))
    missing = [f"{kind}: {reason}" for kind, reason in sorted(seen.unlisted.items()) if kind in KINDS]
    offers = cast(tuple[Offer, ...], tuple(sorted(_OFFERS.intersection(seen.offers))))
    return Offering(**lists, offers=offers), missing + room.refused


UNNAMED = "an entry without a name"
"""What is told of one that is no object, or whose name is no text."""


class _Room:
    """How much more is taken of one server."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self._bytes = OFFERING_BYTES

    def admitted(
        self, kind: Kind, fresh: Iterable[ObservedEntry], known: Iterable[ObservedEntry]
    ) -> tuple[ObservedEntry, ...]:
        before = {entry.name: entry for entry in known}
        found: dict[str, ObservedEntry] = {}
        for entry in fresh:
            reason = self._refusal(kind, entry, found)
            if reason:
                told = _CONTROL.sub("\ufffd", entry.name[:128]) or UNNAMED
                self.refused.append(f"{told}: {reason}")
                continue
            old = before.get(entry.name)
            found[entry.name] = old if old is not None and _same(old.definition, entry.definition) else entry
            self._bytes -= len(entry.definition)
        return tuple(found[name] for name in sorted(found))

    def _refusal(self, kind: Kind, entry: ObservedEntry, found: dict[str, ObservedEntry]) -> str:
        if len(found) >= MOST[kind]:
            return f"a server may offer at most {MOST[kind]} {kind}"
        if entry.name in found:
            return "offered twice"
        if len(entry.definition) > min(ENTRY_BYTES, self._bytes):
            return f"a definition may have {ENTRY_BYTES} bytes, and all of a server {OFFERING_BYTES}"
        return _name_refusal(kind, entry.name) or _definition_refusal(_KEYS[kind], entry)


def _name_refusal(kind: Kind, name: str) -> str:
    longest = MAX_NAME if kind == "prompts" else MAX_URI
    if not 0 < len(name) <= longest or _CONTROL.search(name):
        return f"must be 1-{longest} characters, none of them a control character"
    if kind == "resources" and not _SCHEME.match(name):
        return "must be a URI with a scheme"
    if kind == "templates":
        try:
            Template(name)
        except ValueError as broken:
            return str(broken)
    return ""


def _definition_refusal(key: str, entry: ObservedEntry) -> str:
    try:
        # Wholly decoded, so that nothing nested beyond reason is handed on.
        fields = msgspec.json.decode(entry.definition, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "the definition is no JSON object"
    return "" if fields.get(key) == entry.name else f"the definition must hold {key}"


def _same(one: bytes, other: bytes) -> bool:
    return one == other or _digest(one) == _digest(other)


def _digest(definition: bytes) -> bytes:
    return digest(_canonical.encode(msgspec.json.decode(definition)))
