"""Pieces of a JSON text replaced by position: whatever the text, all else stays, and JSON stays JSON."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.json_splice import MAX_DEPTH, Cut, Scalar, TooDeep, pieces, scalars, splice, unquote

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.text(max_size=8)
NAMES = st.text(max_size=5) | st.sampled_from(["type", "data", "blob", "content"])
JSON = st.recursive(
    LEAVES, lambda few: st.lists(few, max_size=4) | st.dictionaries(NAMES, few, max_size=4), max_leaves=12
)
LAYOUTS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")])
TEXTS = st.builds(
    lambda value, layout, ascii_: json.dumps(value, separators=layout, ensure_ascii=ascii_),
    JSON,
    LAYOUTS,
    st.booleans(),
)


def leaves(value: object) -> list[object]:
    """Keys and scalars in the order they are written."""
    if isinstance(value, dict):
        return [leaf for name, one in value.items() for leaf in (name, *leaves(one))]
    if isinstance(value, list):
        return [leaf for one in value for leaf in leaves(one)]
    return [value]


def shape(value: object) -> object:
    if isinstance(value, list):
        return [shape(one) for one in value]
    return [shape(one) for one in value.values()] if isinstance(value, dict) else 0


def inner(one: Scalar) -> tuple[int, int]:
    edge = 1 if one.is_string else 0
    return one.start + edge, one.end - edge


@given(TEXTS)
def test_every_key_and_scalar_is_found_in_its_place(text: str) -> None:
    found = [json.loads(text[one.start : one.end]) for one in scalars(text)]
    assert found == leaves(json.loads(text))


@given(TEXTS)
def test_nothing_to_cut_changes_nothing(text: str) -> None:
    assert splice(text, [], scalars(text), {}) == text


@given(TEXTS, st.data())
def test_what_is_cut_is_gone_and_the_rest_is_there(text: str, data: st.DataObject) -> None:
    found = scalars(text)
    chosen = data.draw(st.lists(st.sampled_from(found), unique_by=lambda one: one.start) if found else st.just([]))
    chosen = sorted((one for one in chosen if inner(one)[0] < inner(one)[1]), key=lambda one: one.start)
    shown = splice(text, [Cut(*inner(one), "pii") for one in chosen], found, {})
    assert shape(json.loads(shown)) == shape(json.loads(text))
    after = scalars(shown)
    assert len(after) == len(found)
    for old, new in zip(found, after, strict=True):
        now = shown[new.start : new.end]
        assert now.startswith('"[masked:pii') if old in chosen else now == text[old.start : old.end]


@given(st.text(max_size=60) | st.text(alphabet='{}[]",:\\ntrue1 ', max_size=60))
def test_what_is_no_json_is_read_without_complaint(text: str) -> None:
    for one in scalars(text):
        assert 0 <= one.start < one.end <= len(text)


@given(st.text(max_size=12))
def test_a_string_is_unquoted_to_what_it_says(value: str) -> None:
    assert unquote(json.dumps(value)) == value
    assert unquote(value) is None or value.startswith('"')


def test_keys_that_are_masked_stay_apart() -> None:
    text = '{"ann@a.com":1,"bob@b.com":2,"x":"ann@a.com"}'
    found = scalars(text)
    cuts = [Cut(*inner(one), "email") for one in found if one.is_string and "@" in text[one.start : one.end]]
    assert json.loads(splice(text, cuts, found, {})) == {
        "[masked:email]": 1,
        "[masked:email#2]": 2,
        "x": "[masked:email]",
    }


def test_a_cut_across_scalars_is_made_in_each_and_one_in_none_is_refused() -> None:
    text = '["4111","1111",22]'
    found = scalars(text)
    assert splice(text, [Cut(2, 18, "card")], found, {}) == '["[masked:card]","[masked:card]","[masked:card]"]'
    with pytest.raises(ValueError, match="no scalar"):
        list(pieces([Cut(0, 1, "card")], found))


def test_depth_has_an_end() -> None:
    assert len(scalars("[" * MAX_DEPTH + "1")) == 1
    with pytest.raises(TooDeep):
        scalars("[" * (MAX_DEPTH + 1))
