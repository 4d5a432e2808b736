"""Calendar periods, and names that gateways make."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.limits import begins_of, counter_key, read_key
from core.quota import Counted, Period, Quota, Span, read_name, span


def unix(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("period", "now", "expected"),
    [
        ("day", unix(2026, 2, 28, 23, 59, 59), Span(unix(2026, 2, 28), unix(2026, 3, 1))),
        ("day", unix(2026, 3, 1), Span(unix(2026, 3, 1), unix(2026, 3, 2))),
        ("month", unix(2028, 2, 29, 12), Span(unix(2028, 2, 1), unix(2028, 3, 1))),
        ("month", unix(2026, 12, 31, 23, 59, 59), Span(unix(2026, 12, 1), unix(2027, 1, 1))),
    ],
)
def test_periods_are_the_calendars(period: Period, now: int, expected: Span) -> None:
    assert span(period, now + 0.5) == expected


@given(st.lists(st.text(max_size=20), max_size=4))
def test_a_name_reads_as_it_was_made(values: list[str]) -> None:
    scope, on_error, name = read_key(counter_key("month", "local", "acme", "calls@abc", values))
    assert (scope, on_error) == ("month", "local")
    assert read_name(name) == Counted("acme", "calls", "abc", tuple(values))


def test_a_quotas_key_says_when_its_period_began_and_its_name_does_not() -> None:
    key = counter_key("day", "deny", "acme", "calls@abc", ["ada"], begins=unix(2026, 2, 28))
    assert begins_of(key) == unix(2026, 2, 28)
    assert read_key(key) == ("day", "deny", "acme/calls@abc/3:ada")
    assert begins_of(counter_key("day", "deny", "acme", "calls@abc", ["ada"])) == 0
    assert begins_of("fleet:12") == 0


@pytest.mark.parametrize("name", ["", "acme", "acme/calls", "acme/calls@l/3:ab", "acme/calls@l/x:ab", "acme/calls@l/a"])
def test_what_no_gateway_makes_is_no_name(name: str) -> None:
    assert read_name(name) is None


def test_what_is_wrong_with_a_quota_is_told_at_once() -> None:
    found = {p.path for p in Quota(amount=0, per=[], methods=["tools call"]).problems()}
    assert found == {"spec.amount", "spec.per", "spec.methods[0]"}
