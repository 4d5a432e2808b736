"""Times as people write them on a command line: `30d`, `12h`, `2027-01-01` or a full RFC 3339 time."""

import re
from datetime import UTC, datetime, timedelta

from cli.failure import USAGE, Failure

_SPAN = re.compile(r"([1-9]\d{0,5})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def past(text: str, now: datetime, flag: str) -> datetime:
    """So long ago, or at that time. Raises Failure."""
    return _read(text, now, flag, -1, "10m, 2d")


def expiry(text: str, now: datetime, flag: str = "--expires") -> str:
    """RFC 3339 of a time to come. Raises Failure."""
    when = _read(text, now, flag, 1, "30d, 12h")
    if when <= now:
        raise Failure(USAGE, f"{flag} {text}: is in the past")
    return when.isoformat(timespec="seconds")


def span_s(text: str, flag: str) -> int:
    """Seconds of `90s`, `12h`, `30d`. Raises Failure."""
    span = _SPAN.fullmatch(text)
    if span is None:
        raise Failure(USAGE, f"{flag} {text}: must read like 30m, 12h or 7d")
    return int(span[1]) * _UNITS[span[2]]


def _read(text: str, now: datetime, flag: str, direction: int, such_as: str) -> datetime:
    span = _SPAN.fullmatch(text)
    try:
        if span:
            return now + direction * timedelta(seconds=int(span[1]) * _UNITS[span[2]])
        when = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as failure:
        raise Failure(USAGE, f"{flag} {text}: must read like {such_as} or 2027-01-01T00:00:00Z") from failure
    return when if when.tzinfo else when.replace(tzinfo=UTC)
