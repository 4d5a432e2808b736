"""From what somebody sent to a spec of its kind, or to everything that is wrong with it at once, by field."""

import math
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from difflib import get_close_matches
from functools import cache

import msgspec
from msgspec import inspect

from core.kinds import KINDS, PLATFORM_SCOPE, TENANT_OPTIONAL
from core.resource import LABEL_KEY, LABEL_VALUE, NAME, NAME_RULE, Problem, Spec
from core.tenant import RESERVED

MAX_LABELS = 64
MAX_SPEC_BYTES = 512 * 1024
MAX_PROBLEMS = 100
"""As many as a person can use; the rest would only make the answer large."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_DATE_RULE = "must be a date and time with a time zone, such as 2027-01-01T00:00:00Z"


class _Bad:
    """Stands where a value could not be used."""


_BAD = _Bad()


def decode(kind: type[Spec], raw: object, path: str = "spec") -> tuple[Spec | None, list[Problem]]:
    """`raw` (JSON values) as a `kind`; None where there are problems."""
    spec, problems = examine(kind, raw, path)
    return (None if problems else spec), problems


def examine(kind: type[Spec], raw: object, path: str = "spec") -> tuple[Spec | None, list[Problem]]:
    """`raw` as a `kind` as far as it can be one, so that what it names can be looked for too, and all that is wrong.

    The kind's own rules are checked too, as far as what is wrong leaves something to check. A number without a
    fraction is taken for a whole one: protobuf's Struct knows no other.
    """
    if not isinstance(raw, dict):
        return None, [Problem(path, f"must be an object, not {_named(raw)}")]
    walk = _Walk()
    clean = walk.value(_type_of(kind), raw, path)
    problems = walk.problems
    if isinstance(clean, _Bad):
        return None, problems[:MAX_PROBLEMS]
    try:
        spec = msgspec.convert(clean, kind)
    except msgspec.ValidationError as failure:
        return None, [*problems, _problem_of(failure, path)][:MAX_PROBLEMS]
    problems += besides(spec.problems(), walk.bad)
    return spec, problems[:MAX_PROBLEMS]


def besides(problems: Iterable[Problem], bad: Iterable[str]) -> list[Problem]:
    """Those that do not only follow from what is wrong at the paths `bad` already."""
    paths = list(bad)
    return [found for found in problems if not any(_touch(found.path, path) for path in paths)]


def envelope(kind: str, tenant: str, name: str, namespace: str, labels: dict[str, str]) -> Iterator[Problem]:
    """What is wrong with everything around a spec."""
    if not kind:
        yield Problem("kind", f"is required: one of {', '.join(KINDS)}")
    elif kind not in KINDS:
        yield Problem("kind", f"{kind!r} is none of {', '.join(KINDS)}{_hint(kind, tuple(KINDS))}")
    elif kind in PLATFORM_SCOPE and tenant:
        yield Problem("tenant", f"must be empty: a {kind} belongs to no tenant")
    elif kind not in PLATFORM_SCOPE and not tenant and kind not in TENANT_OPTIONAL:
        yield Problem("tenant", f"is required: every {kind} belongs to a tenant")
    if tenant and not NAME.fullmatch(tenant):
        yield Problem("tenant", NAME_RULE)
    if not NAME.fullmatch(name):
        yield Problem("name", NAME_RULE)
    if kind == "Tenant" and name in RESERVED:
        yield Problem("name", f"{name!r} is reserved: it has a meaning of its own in the paths agents use")
    if namespace and not NAME.fullmatch(namespace):
        yield Problem("namespace", NAME_RULE)
    elif namespace and (kind in PLATFORM_SCOPE or kind == "Namespace" or not tenant):
        yield Problem("namespace", f"must be empty for this {kind}")
    yield from _labels(labels)


def _labels(labels: dict[str, str]) -> Iterator[Problem]:
    if len(labels) > MAX_LABELS:
        yield Problem("labels", f"must be at most {MAX_LABELS}")
        return
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key):
            rule = "must be 1-128 of letters, digits, '.', '_', '/' and '-', starting and ending with a letter or digit"
            yield Problem(_member("labels", key), f"the key {rule}")
        if not LABEL_VALUE.fullmatch(value):
            rule = "must be up to 63 of letters, digits, '.', '_' and '-', starting and ending with a letter or digit"
            yield Problem(_member("labels", key), rule)


@cache
def _type_of(kind: type[Spec]) -> inspect.Type:
    return inspect.type_info(kind)


class _Walk:
    """Collects problems while it makes values of the builtin types msgspec converts from."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.bad: list[str] = []
        """Paths of values that could not be used, as opposed to fields nobody knows."""

    def value(self, kind: inspect.Type, raw: object, path: str) -> object:
        match kind:
            case inspect.StructType():
                return self._struct(kind, raw, path)
            case inspect.UnionType():
                return self._union(kind, raw, path)
            case inspect.ListType() | inspect.VarTupleType():
                return self._list(kind.item_type, raw, path)
            case inspect.DictType():
                return self._dict(kind, raw, path)
            case inspect.LiteralType():
                return raw if raw in kind.values and isinstance(raw, str) else self._literal(kind, raw, path)
            case inspect.StrType():
                return self._text(raw, path)
            case inspect.DateTimeType():
                return self._date(raw, path)
            case inspect.AnyType():
                return raw
        return self._scalar(kind, raw, path)

    def _wrong(self, path: str, rule: str) -> _Bad:
        self.problems.append(Problem(path, rule))
        self.bad.append(path)
        return _BAD

    def _struct(self, kind: inspect.StructType, raw: object, path: str) -> object:
        if not isinstance(raw, dict):
            return self._wrong(path, f"must be an object, not {_named(raw)}")
        known = {field.encode_name: field for field in kind.fields}
        tag = {kind.tag_field: kind.tag} if kind.tag_field else {}
        clean: dict[str, object] = {**tag}
        for key in raw:
            if key not in known and key not in tag:
                choices = (*tag, *known)
                hint = _hint(key, choices) or f"; known: {', '.join(choices)}"
                self.problems.append(Problem(_member(path, str(key)), f"is not a field of {path}{hint}"))
        usable = True
        for name, field in known.items():
            if name in raw:
                value = self.value(field.type, raw[name], _member(path, name))
                if not isinstance(value, _Bad):
                    if not _is_default(field, value):
                        clean[name] = value
                    continue
            elif field.required:
                self._wrong(_member(path, name), "is required")
            usable = usable and not field.required
        return clean if usable else _BAD

    def _union(self, kind: inspect.UnionType, raw: object, path: str) -> object:
        tagged = {t.tag: t for t in kind.types if isinstance(t, inspect.StructType) and t.tag_field}
        if tagged and isinstance(raw, dict):
            return self._tagged({str(tag): struct for tag, struct in tagged.items()}, raw, path)
        fitting = [one for one in kind.types if _fits(one, raw)]
        if not fitting:
            return self._wrong(path, f"must be {_expected(kind)}, not {_named(raw)}")
        attempts = []
        for one in fitting:
            attempt = _Walk()
            value = attempt.value(one, raw, path)
            if not attempt.problems:
                return value
            attempts.append(attempt)
        self.problems += attempts[0].problems
        self.bad += attempts[0].bad or [path]
        return _BAD

    def _tagged(self, structs: dict[str, inspect.StructType], raw: dict[str, object], path: str) -> object:
        field = str(next(iter(structs.values())).tag_field)
        tag = raw.get(field)
        if isinstance(tag, str) and tag in structs:
            return self._struct(structs[tag], raw, path)
        choices = ", ".join(repr(one) for one in structs)
        if tag is None:
            return self._wrong(_member(path, field), f"is required: one of {choices}")
        return self._wrong(_member(path, field), f"must be one of {choices}, not {_named(tag)}")

    def _list(self, item: inspect.Type, raw: object, path: str) -> object:
        if not isinstance(raw, list):
            return self._wrong(path, f"must be a list, not {_named(raw)}")
        values = [self.value(item, one, f"{path}[{i}]") for i, one in enumerate(raw)]
        return _BAD if any(isinstance(value, _Bad) for value in values) else values

    def _dict(self, kind: inspect.DictType, raw: object, path: str) -> object:
        if not isinstance(raw, dict):
            return self._wrong(path, f"must be an object, not {_named(raw)}")
        values = {}
        for key, one in raw.items():
            name = self._text(key, path)
            value = self.value(kind.value_type, one, _member(path, str(key)))
            values[str(name)] = _BAD if isinstance(name, _Bad) else value
        return _BAD if any(isinstance(value, _Bad) for value in values.values()) else values

    def _literal(self, kind: inspect.LiteralType, raw: object, path: str) -> _Bad:
        words = tuple(str(value) for value in kind.values)
        hint = _hint(raw, words) if isinstance(raw, str) else ""
        return self._wrong(path, f"must be one of {', '.join(map(repr, words))}, not {_named(raw)}{hint}")

    def _text(self, raw: object, path: str) -> object:
        if not isinstance(raw, str):
            return self._wrong(path, f"must be a string, not {_named(raw)}")
        if _NOT_TEXT.search(raw):
            return self._wrong(path, "must not hold NUL or half a surrogate pair")
        return raw

    def _date(self, raw: object, path: str) -> object:
        try:
            return msgspec.to_builtins(msgspec.convert(raw, datetime))
        except msgspec.ValidationError:
            return self._wrong(path, _DATE_RULE)

    def _scalar(self, kind: inspect.Type, raw: object, path: str) -> object:
        if isinstance(raw, float) and not math.isfinite(raw):
            return self._wrong(path, "must be a finite number")
        if not _fits(kind, raw):
            return self._wrong(path, f"must be {_expected(kind)}, not {_named(raw)}")
        if isinstance(kind, inspect.IntType) and isinstance(raw, int | float):
            return int(raw) if -(2**63) <= raw < 2**63 else self._wrong(path, "must fit in 64 bits")
        if isinstance(kind, inspect.FloatType) and isinstance(raw, int):
            return float(raw) if abs(raw) < 2**1023 else self._wrong(path, "must be a finite number")
        return raw


def _is_default(field: inspect.Field, value: object) -> bool:
    """Whether leaving the value out says the same. Then it is left out: msgspec omits a default only if it is the
    default's own object, and a spec must have one encoding, whether its author wrote defaults down or not."""
    return type(value) is type(field.default) and value == field.default


def _fits(kind: inspect.Type, raw: object) -> bool:
    """Whether `raw` is of the right sort, whatever is in it."""
    match kind:
        case inspect.StructType() | inspect.DictType():
            return isinstance(raw, dict)
        case inspect.ListType() | inspect.VarTupleType():
            return isinstance(raw, list)
        case inspect.StrType() | inspect.LiteralType() | inspect.DateTimeType():
            return isinstance(raw, str)
        case inspect.BoolType():
            return isinstance(raw, bool)
        case inspect.IntType():
            return (isinstance(raw, int) and not isinstance(raw, bool)) or (isinstance(raw, float) and raw.is_integer())
        case inspect.FloatType():
            return isinstance(raw, int | float) and not isinstance(raw, bool)
        case inspect.NoneType():
            return raw is None
    return True


def _expected(kind: inspect.Type) -> str:
    """The kind in words, for a person."""
    match kind:
        case inspect.UnionType():
            return " or ".join(dict.fromkeys(_expected(one) for one in kind.types))
        case inspect.StructType() | inspect.DictType():
            return "an object"
        case inspect.ListType() | inspect.VarTupleType():
            return f"a list of {_expected(kind.item_type).removeprefix('a ').removeprefix('an ')}s"
        case inspect.LiteralType():
            return "one of " + ", ".join(repr(value) for value in kind.values)
        case inspect.StrType():
            return "a string"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number"
        case inspect.FloatType():
            return "a number"
        case inspect.DateTimeType():
            return "a date and time"
        case inspect.NoneType():
            return "null"
    return "something else"


def _named(raw: object) -> str:
    """What was sent, in words. Numbers and long strings are not repeated: they may be secrets in the wrong place."""
    match raw:
        case None:
            return "null"
        case bool():
            return "true" if raw else "false"
        case int() | float():
            return "a fraction" if isinstance(raw, float) and not raw.is_integer() else "a number"
        case str():
            return f"{raw!r}" if len(raw) <= 40 and raw.isprintable() else "a string"
        case dict():
            return "an object"
        case list():
            return "a list"
    return type(raw).__name__


def _hint(word: object, choices: tuple[str, ...]) -> str:
    """Slips of the pen seldom begin a word: where that differs another thing is meant, as by HS256 for RS256."""
    begin = [choice for choice in choices if choice[:1].lower() == str(word)[:1].lower()]
    close = get_close_matches(str(word), begin, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _member(path: str, key: str) -> str:
    return f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f'{path}["{key[:128]}"]'


def _touch(one: str, other: str) -> bool:
    """Whether one path lies on the way to the other."""
    short, long = sorted((one, other), key=len)
    return long == short or long.startswith((short + ".", short + "["))


def _problem_of(failure: msgspec.ValidationError, path: str) -> Problem:
    """A rule of msgspec's own, such as a length: its text ends with " - at `$.field`"."""
    text, _, where = str(failure).partition(" - at `")
    return Problem(where.removesuffix("`").replace("$", path, 1) if where else path, text)
