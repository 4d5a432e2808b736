"""The Rego builtins the host brings: those of `core.policy.HOST_BUILTINS`.

Each follows OPA's Go implementation, and raises Undefined where that reports an error: in OPA such an expression is
undefined. Any other exception is a failed evaluation. All are bounded: they run outside the guest's deadline.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from adapters.wasmtime.sprintf import sprintf

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_PAIRS = 1_000_000
_INT64 = 2**63

_IDENTIFIERS = re.compile(r"[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,19}")
_BYTES = re.compile(r"(?P<number>[0-9.]+(?:e[+-]?[0-9]{1,3})?)(?P<unit>[a-z]*)")
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_UNITS = {
    unit + suffix: factor**power
    for power, unit in enumerate(("", "k", "m", "g", "t", "p", "e"))
    for suffix, factor in (("", 1000), ("b", 1000), ("i", 1024), ("ib", 1024))
    if unit or not suffix
}


class Undefined(Exception):
    """The expression has no value."""


def call(name: str, arguments: list[object]) -> object:
    """Raises Undefined; ValueError, OverflowError and the like where the host will not do it."""
    return _BUILTINS[name](*arguments)


def _sprintf(template: object, arguments: object) -> str:
    if not isinstance(template, str) or not isinstance(arguments, list):
        raise Undefined
    return sprintf(template, arguments)


def _prefix(search: object, prefixes: object) -> bool:
    texts, starts = _pairs(search, prefixes)
    return any(text.startswith(starts) for text in texts)


def _suffix(search: object, suffixes: object) -> bool:
    texts, ends = _pairs(search, suffixes)
    return any(text.endswith(ends) for text in texts)


def _pairs(search: object, affixes: object) -> tuple[list[str], tuple[str, ...]]:
    texts, ends = _strings(search), _strings(affixes)
    if len(texts) * len(ends) > _MOST_PAIRS:
        raise ValueError(f"more than {_MOST_PAIRS} comparisons")
    return texts, tuple(ends)


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise Undefined
    strings = [item for item in value if isinstance(item, str)]
    if len(strings) != len(value):
        raise Undefined
    return strings


def _clock(at: object) -> list[int]:
    moment = _moment(at)
    return [moment.hour, moment.minute, moment.second]


def _date(at: object) -> list[int]:
    moment = _moment(at)
    return [moment.year, moment.month, moment.day]


def _weekday(at: object) -> str:
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return names[_moment(at).weekday()]


def _moment(at: object) -> datetime:
    """`at`: nanoseconds, or [nanoseconds, time zone]."""
    zone: object = "UTC"
    if isinstance(at, list) and at:
        zone = at[1] if len(at) > 1 else "UTC"
        at = at[0]
    if not isinstance(at, int) or isinstance(at, bool) or not -_INT64 <= at < _INT64:
        raise Undefined
    return (_EPOCH + timedelta(microseconds=at // 1000)).astimezone(_zone(zone))


def _zone(name: object) -> tzinfo:
    if not isinstance(name, str):
        raise Undefined
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as unknown:
        raise Undefined from unknown


def _parse_rfc3339_ns(text: object) -> int:
    parts = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if parts is None:
        raise Undefined
    *fields, fraction, offset = parts.groups()
    try:
        moment = datetime(*map(int, fields), tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError as unreal:
        raise Undefined from unreal
    seconds = int((moment - _EPOCH).total_seconds()) - _offset_s(offset)
    nanoseconds = seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0")[:9])
    if not -_INT64 <= nanoseconds < _INT64:
        raise Undefined
    return nanoseconds


def _offset_s(offset: str) -> int:
    if offset == "Z":
        return 0
    hours, minutes = int(offset[1:3]), int(offset[4:])
    if hours > 24 or minutes > 59:
        raise Undefined
    return (hours * 3600 + minutes * 60) * (-1 if offset[0] == "-" else 1)


def _parse_bytes(text: object) -> int:
    if not isinstance(text, str):
        raise Undefined
    parts = _BYTES.fullmatch(text.lower().replace('"', ""))
    if parts is None or parts["unit"] not in _UNITS:
        raise Undefined
    try:
        return int(Fraction(parts["number"]) * _UNITS[parts["unit"]])
    except ValueError as unreadable:
        raise Undefined from unreadable


_Version = tuple[int, int, int, str]


def _semver(text: object) -> _Version:
    if not isinstance(text, str):
        raise Undefined
    core, plus, build = text.removeprefix("v").partition("+")
    core, dash, pre = core.partition("-")
    if (plus and build and not _IDENTIFIERS.fullmatch(build)) or (dash and pre and not _IDENTIFIERS.fullmatch(pre)):
        raise Undefined
    numbers = core.split(".")
    if len(numbers) != 3 or not all(_DECIMAL.fullmatch(number) for number in numbers):
        raise Undefined
    major, minor, patch = map(int, numbers)
    if not all(-_INT64 <= number < _INT64 for number in (major, minor, patch)):
        raise Undefined
    return major, minor, patch, pre


def _semver_is_valid(text: object) -> bool:
    try:
        _semver(text)
    except Undefined:
        return False
    return True


def _semver_compare(a: object, b: object) -> int:
    left, right = _semver(a), _semver(b)
    if left[:3] != right[:3]:
        return 1 if left[:3] > right[:3] else -1
    return _sign(_pre_release(left[3]), _pre_release(right[3]))


def _pre_release(pre: str) -> tuple[int, list[tuple[int, int, str]]]:
    """Orders as semver.org section 11 does: none is highest, numbers are below words, fewer identifiers below more."""
    if not pre:
        return 1, []
    return 0, [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in pre.split(".")]


def _sign(a: tuple[int, list[tuple[int, int, str]]], b: tuple[int, list[tuple[int, int, str]]]) -> int:
    return (a > b) - (a < b)


_BUILTINS: dict[str, Callable[..., object]] = {
    "semver.compare": _semver_compare,
    "semver.is_valid": _semver_is_valid,
    "sprintf": _sprintf,
    "strings.any_prefix_match": _prefix,
    "strings.any_suffix_match": _suffix,
    "time.clock": _clock,
    "time.date": _date,
    "time.parse_rfc3339_ns": _parse_rfc3339_ns,
    "time.weekday": _weekday,
    "units.parse_bytes": _parse_bytes,
}
