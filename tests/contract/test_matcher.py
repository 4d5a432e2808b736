"""The contract of `core.guard.Matcher`."""

import pytest

from adapters.re2.matcher import SETS_KEPT, Re2Matcher
from core.guard import Matcher


@pytest.fixture
def matcher() -> Matcher:
    return Re2Matcher()


def test_hits_name_every_pattern_that_matches_anywhere(matcher: Matcher) -> None:
    patterns = matcher.compile(["[0-9]{3}", "needle", r"(?i)hay"])
    assert sorted(patterns.hits(b"a HAYstack of 123")) == [0, 2]
    assert patterns.hits(b"nothing") == []
    assert patterns.hits(b"") == []


def test_spans_do_not_overlap_and_count_characters_not_bytes(matcher: Matcher) -> None:
    patterns = matcher.compile(["[0-9]+"])
    assert patterns.spans(0, "a1b22") == [(1, 2), (3, 5)]
    assert patterns.spans(0, "žluť 12 猫 3") == [(5, 7), (10, 11)]
    assert patterns.spans(0, "none") == []


def test_no_patterns_match_nothing(matcher: Matcher) -> None:
    assert matcher.compile([]).hits(b"anything") == []


def test_bytes_that_are_no_utf8_are_no_error(matcher: Matcher) -> None:
    assert matcher.compile(["abc"]).hits(b"\xff\xfeabc\xff") == [0]


def test_a_pattern_it_does_not_take_is_named(matcher: Matcher) -> None:
    with pytest.raises(ValueError, match=r"\(\?<=a\)b"):
        matcher.compile(["fine", "(?<=a)b"])


def test_a_pattern_that_would_take_others_forever_is_quick(matcher: Matcher) -> None:
    assert matcher.compile(["(a+)+$", "(x*)*y"]).hits(b"a" * 200_000 + b"!") == []


def test_equal_patterns_share_one_set_and_old_ones_are_forgotten() -> None:
    matcher = Re2Matcher()
    first = matcher.compile(["a", "b"])
    assert matcher.compile(("a", "b")) is first
    for n in range(SETS_KEPT):
        matcher.compile([f"x{n}"])
    assert matcher.compile(["a", "b"]) is not first
    assert len(matcher._sets) == SETS_KEPT
