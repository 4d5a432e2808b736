"""Label selectors as text and as requirements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.store import BadSelector, Term, parse_selector


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        ("  ", ()),
        ("a=b", (Term("a", "=", ("b",)),)),
        ("a==b", (Term("a", "=", ("b",)),)),
        ("a=", (Term("a", "=", ("",)),)),
        (" a != b , c,! d ", (Term("a", "!=", ("b",)), Term("c", "exists"), Term("d", "absent"))),
        ("x.y/z in (a, b-c),k notin (d)", (Term("x.y/z", "in", ("a", "b-c")), Term("k", "notin", ("d",)))),
    ],
)
def test_selectors_are_read(text: str, terms: tuple[Term, ...]) -> None:
    assert parse_selector(text) == terms


@pytest.mark.parametrize(
    "text",
    [",", "a,", ",a", "a,,b", "=b", "a=b=c", "a in b", "a in (", "a in (b", "a b", "!", "a=b c", "(a)", "a=\N{BULLET}"],
)
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(BadSelector):
        parse_selector(text)


@given(st.text(alphabet="ab=!,() in", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        terms = parse_selector(text)
    except BadSelector:
        return
    assert all(term.key for term in terms)


@pytest.mark.parametrize(
    ("term", "present", "other", "absent"),
    [
        (Term("k", "=", ("v",)), True, False, False),
        (Term("k", "!=", ("v",)), False, True, True),
        (Term("k", "in", ("v", "w")), True, False, False),
        (Term("k", "notin", ("v", "w")), False, True, True),
        (Term("k", "exists"), True, True, False),
        (Term("k", "absent"), False, False, True),
    ],
)
def test_a_requirement_holds_or_not(term: Term, present: bool, other: bool, absent: bool) -> None:
    assert (term.holds({"k": "v"}), term.holds({"k": "x"}), term.holds({"z": "v"})) == (present, other, absent)
