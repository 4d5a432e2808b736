"""What agents say they can do is a stranger's word: whatever it is, a server is told something that it can read."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.upstreams import declared
from data_plane.upstreams.declared import Declared

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
ANYTHING = st.recursive(
    SCALARS,
    lambda few: st.lists(few, max_size=2) | st.dictionaries(st.sampled_from(["form", "url", "tools", "a"]), few),
    max_leaves=4,
)
NAMES = st.sampled_from(["elicitation", "sampling", "roots", "extensions", "tasks", "x"])


@settings(deadline=None)
@given(st.dictionaries(NAMES, ANYTHING) | ANYTHING, st.booleans())
def test_any_capabilities_are_carried_as_an_object_of_objects(capabilities: object, asked: bool) -> None:
    told = json.loads(declared.carried(json.dumps(capabilities).encode(), asked=asked))
    assert told.keys() <= {"elicitation", "sampling", "roots", "extensions"}
    assert all(isinstance(value, dict) for value in told.values())
    assert asked or told.keys() <= {"extensions"}


@pytest.mark.parametrize("name", ["elicitation", "sampling", "roots", "extensions"])
@pytest.mark.parametrize("value", ['"x"', "1", "[]", "true"])
def test_a_capability_that_is_no_object_declares_nothing(name: str, value: str) -> None:
    assert declared.read(f'{{"sampling":{{}},"{name}":{value}}}'.encode()) == Declared()
