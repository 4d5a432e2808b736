"""Definitions respelled, and the headers they ask for."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.compiler.definition import HeaderRefused, claims_read_only, header_params, respelled


def with_schema(schema: object) -> bytes:
    return json.dumps({"name": "t", "inputSchema": schema}).encode()


def prop(schema: object) -> bytes:
    return with_schema({"type": "object", "properties": {"p": schema}})


def test_a_renamed_tool_changes_in_its_name_alone() -> None:
    raw = b'{ "title":"T" , "inputSchema" : {"x-odd": 1.50, "y":[ 1 ]}, "name":"a", "outputSchema":{"z":1E3} }'
    assert respelled(raw, "b", "a", None) == (
        b'{"title":"T","inputSchema":{"x-odd": 1.50, "y":[ 1 ]},"name":"b","outputSchema":{"z":1E3}}'
    )


def test_a_tool_that_keeps_its_name_is_the_same_bytes() -> None:
    raw = b'{ "name" : "a" , "inputSchema":{} }'
    assert respelled(raw, "a", "a", None) is raw


def test_a_description_is_added_where_there_was_none() -> None:
    assert msgspec.json.decode(respelled(b'{"name":"a","inputSchema":{}}', "a", "a", "d\n"))["description"] == "d\n"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=5), st.text())
def test_whatever_else_a_definition_holds_stays(extra: dict[str, object], name: str) -> None:
    fields = {**extra, "name": "a", "inputSchema": {}}
    after = json.loads(respelled(json.dumps(fields).encode(), name, "a", "new"))
    assert after == {**fields, "name": name, "description": "new"}


def test_header_parameters_are_found_along_properties() -> None:
    nested = {"type": "object", "properties": {"q": {"type": "integer", "x-mcp-header": "Q"}}}
    assert header_params(prop(nested)) == {"p.q": "Q"}
    assert header_params(prop({"type": "boolean", "x-mcp-header": "P-1"})) == {"p": "P-1"}


def test_an_annotation_written_with_escapes_is_found_too() -> None:
    raw = b'{"name":"t","inputSchema":{"properties":{"p":{"type":"string","x-mcp-\\u0068eader":"P"}}}}'
    assert header_params(raw) == {"p": "P"}


ANNOTATED = {"type": "string", "x-mcp-header": "P"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "x-mcp-header": "P"},
        {"x-mcp-header": "P"},
        {"type": ["string", "null"], "x-mcp-header": "P"},
        {"type": "string", "x-mcp-header": ""},
        {"type": "string", "x-mcp-header": "no space"},
        {"type": "string", "x-mcp-header": "bad:colon"},
        {"type": "string", "x-mcp-header": 7},
        {"type": "array", "items": ANNOTATED},
        {"type": "array", "items": [ANNOTATED]},
        {"oneOf": [ANNOTATED]},
        {"if": ANNOTATED},
        {"additionalProperties": ANNOTATED},
        {"$defs": {"d": ANNOTATED}},
        {"allOf": [{"properties": {"q": ANNOTATED}}]},
        {"patternProperties": {".*": ANNOTATED}},
        {"properties": {"q": ANNOTATED, "r": {"type": "integer", "x-mcp-header": "p"}}},
        {"properties": {"a.b": ANNOTATED}},
    ],
)
def test_annotations_that_break_a_rule_are_refused(schema: object) -> None:
    with pytest.raises(HeaderRefused):
        header_params(prop(schema))


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x-mcp-header": {"type": "string"}}},
        {"const": {"x-mcp-header": "P"}},
        {"enum": [{"x-mcp-header": "P"}]},
        {"default": {"x-mcp-header": "P"}},
        {"examples": [{"x-mcp-header": 1}]},
        True,
    ],
)
def test_what_only_looks_like_an_annotation_is_none(schema: object) -> None:
    assert header_params(prop(schema)) == {}


@pytest.mark.parametrize(
    ("annotations", "claimed"),
    [({"readOnlyHint": True}, True), ({"readOnlyHint": "true"}, False), ({"readOnlyHint": 1}, False), ({}, False)],
)
def test_only_a_plain_true_claims_to_change_nothing(annotations: object, claimed: object) -> None:
    raw = json.dumps({"name": "t", "inputSchema": {}, "annotations": annotations}).encode()
    assert claims_read_only(raw) is claimed


def test_annotations_of_another_shape_claim_nothing() -> None:
    assert not claims_read_only(b'{"name":"t","inputSchema":{},"annotations":["readOnlyHint"]}')


PAGES = {"ui://app": "ui://git/app"}


@pytest.mark.parametrize(
    ("meta", "after"),
    [
        (b'{"ui":{"resourceUri":"ui://app","csp":1.0}}', b'{"ui":{"resourceUri":"ui://git/app","csp":1.0}}'),
        (b'{"ui/resourceUri":"ui://app","x":[]}', b'{"ui/resourceUri":"ui://git/app","x":[]}'),
        (b'{"ui":{"resourceUri":"ui://other"}}', None),
        (b'{"ui":{"resourceUri":7}}', None),
        (b'{"ui":"ui://app"}', None),
        (b'"ui://app"', None),
    ],
)
def test_the_page_of_an_app_is_named_as_it_is_exposed(meta: bytes, after: bytes | None) -> None:
    raw = b'{"name":"a", "_meta":%b}'
    changed = respelled(raw % meta, "a", "a", None, PAGES)
    assert changed == (raw % meta if after is None else b'{"name":"a","_meta":%b}' % after)
    assert respelled(raw % meta, "a", "a", None, {}) == raw % meta
