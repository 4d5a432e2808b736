import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.mcp import classify, jsonrpc
from core.mcp.errors import Rejected
from core.mcp.headers import read
from core.mcp.jsonrpc import MAX_DEPTH, Message

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
IDS = st.integers(-(10**30), 10**30) | st.text(max_size=50)


def depth(value: object) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(depth, children), default=0)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_rejection(body: bytes) -> None:
    try:
        outcome: object = jsonrpc.parse(body)
    except Rejected as rejection:
        outcome = (rejection.error.status, rejection.error.code)
    assert isinstance(outcome, Message) or outcome in ((400, -32700), (400, -32600))


@given(JSON)
def test_any_json_is_a_message_or_an_invalid_request(value: object) -> None:
    body = json.dumps(value).encode()
    with pytest.raises(Rejected) as rejected:
        jsonrpc.parse(body)
    assert rejected.value.error.code == -32600


@given(IDS, st.dictionaries(st.text(), JSON, max_size=3), st.text(max_size=20))
def test_a_request_keeps_its_id_and_params_byte_for_byte(id_: object, params: dict, method: str) -> None:
    raw_id, raw_params = json.dumps(id_).encode(), json.dumps(params, indent=1).encode()
    body = b'{"params": %b, "x": [1], "id" : %b, "method":%b,"jsonrpc":"2.0"}' % (
        raw_params,
        raw_id,
        json.dumps(method, ensure_ascii=False).encode("utf-8", "replace"),
    )
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in method):
        return
    assert jsonrpc.parse(body) == Message(raw_id, method, raw_params)
    assert json.loads(jsonrpc.result(raw_id, b"{}")) == {"jsonrpc": "2.0", "id": id_, "result": {}}


@given(JSON)
def test_depth_is_measured_exactly(value: object) -> None:
    for extra in (MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1):
        body = b"[" * extra + json.dumps(value).encode() + b"]" * extra
        assert jsonrpc.too_deep(body) == (depth(value) + extra > MAX_DEPTH)


def test_brackets_in_strings_are_not_nesting() -> None:
    assert not jsonrpc.too_deep(json.dumps({"a": '[{"\\' * 500}).encode())


@given(JSON, st.dictionaries(st.sampled_from(["_meta", "name", "arguments", "protocolVersion", "capabilities"]), JSON))
def test_any_request_is_understood_or_rejected(meta: object, params: dict) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"_meta": meta} | params}).encode()
    for lines in (
        [],
        [(b"mcp-session-id", b"x")],
        [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", b"tools/call")],
    ):
        try:
            inbound = classify.understand(classify.arrive(jsonrpc.parse(body), read(lines)), "i", None, "default")
            outcome = json.loads(inbound.arguments) == (params.get("arguments") or {})
        except Rejected as rejection:
            outcome = rejection.id == b"1"
        assert outcome


@pytest.mark.parametrize(
    ("meta", "version", "era"),
    [
        ({}, "", "legacy"),
        ({}, "2025-11-25", "legacy"),
        ({}, "2024-11-05", "legacy"),
        ({}, "2026-07-28", "modern"),
        ({}, "1999-01-01", "modern"),
        ({"io.modelcontextprotocol/protocolVersion": "2026-07-28"}, "", "modern"),
        ({"io.modelcontextprotocol/protocolVersion": "2026-07-28"}, "2025-11-25", "modern"),
        ({"io.modelcontextprotocol/protocolVersion": "2025-11-25"}, "2025-11-25", "modern"),
        ({"io.modelcontextprotocol/protocolVersion": None}, "", "modern"),
        ({"progressToken": 1}, "2025-06-18", "legacy"),
        (None, "", "legacy"),
        ("text", "", "legacy"),
    ],
)
@pytest.mark.parametrize("method", ["initialize", "tools/call", "notifications/cancelled"])
def test_the_body_decides_the_era_before_the_header(meta: object, version: str, era: str, method: str) -> None:
    message = Message(b"1", method, json.dumps({"_meta": meta}).encode())
    head = read([(b"mcp-protocol-version", version.encode())] if version else [])
    assert classify.arrive(message, head).era == era


@pytest.mark.parametrize(
    ("traceparent", "kept"),
    [
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", True),
        ("ff-" + "a" * 32 + "-" + "b" * 16 + "-01", False),
        ("00-" + "A" * 32 + "-" + "b" * 16 + "-01", False),
        ("00-" + "a" * 31 + "-" + "b" * 16 + "-01", False),
        ("", False),
    ],
)
def test_a_broken_trace_context_is_not_passed_on(traceparent: str, kept: bool) -> None:
    assert classify.trace(traceparent, "k=v") == ((traceparent, "k=v") if kept else ("", ""))
    assert classify.trace(traceparent, "k=v\n" + "x" * 600) == ((traceparent, "") if kept else ("", ""))


@pytest.mark.parametrize(
    ("params", "named"),
    [
        (b'{"requestId":5}', b"5"),
        (b'{"requestId":"5"}', b'"5"'),
        (b"{}", b""),
        (b"[]", b""),
        (b'{"requestId":[1]}', b"[1]"),
    ],
)
def test_a_cancellation_names_its_request_as_json(params: bytes, named: bytes) -> None:
    assert classify.cancelled_id(params) == named


def test_two_spellings_of_an_id_are_one() -> None:
    assert jsonrpc.canonical_id(b'"\\u0061"') == jsonrpc.canonical_id(b'"a"') != jsonrpc.canonical_id(b"1")


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"jsonrpc":"2.0","id":"ask-1","result":{"method":"x"}}', jsonrpc.Answer(b'"ask-1"', b'{"method":"x"}')),
        (
            b'{"error":{"code":1,"message":"m"},"jsonrpc":"2.0","id":7}',
            jsonrpc.Answer(b"7", b"", b'{"code":1,"message":"m"}'),
        ),
    ],
)
def test_where_both_may_come_an_answer_is_told_from_a_request(body: bytes, answer: jsonrpc.Answer) -> None:
    assert jsonrpc.read(body) == answer
    assert jsonrpc.read(b'{"jsonrpc":"2.0","id":1,"method":"ping"}') == Message(b"1", "ping", b"")


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":[]}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":null,"error":{}}',
        b'{"jsonrpc":"2.0","id":1.5,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"deep":' + b"[" * 200 + b"]" * 200 + b"}}",
        b'{"jsonrpc":"2.0","id":1,"result":{"a":"\xff"}}',
        b"{",
    ],
)
def test_what_is_neither_is_rejected(body: bytes) -> None:
    with pytest.raises(Rejected):
        jsonrpc.read(body)


def test_a_batch_is_its_messages_as_they_came_and_has_a_cap() -> None:
    assert jsonrpc.batch(b' [{"a": 1} ,[2]]') == [b'{"a": 1}', b"[2]"]
    assert jsonrpc.batch(b'{"a":1}') is None
    for body in (b"[]", b"[" + b"1," * 100 + b"1]", b"[1"):
        with pytest.raises(Rejected):
            jsonrpc.batch(body)


def test_a_script_need_not_say_its_revision() -> None:
    plain = classify.arrive_plain(jsonrpc.parse(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'))
    assert (plain.era, plain.version, plain.mirrored) == ("modern", "2026-07-28", False)
    inbound = classify.understand(plain, "i", None, "default")
    assert (inbound.revision, inbound.capabilities) == ("2026-07-28", b"{}")
    own = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":%b}}' % (
        b'{"progressToken":3,"io.modelcontextprotocol/clientCapabilities":{"roots":{}}}'
    )
    kept = classify.understand(classify.arrive_plain(jsonrpc.parse(own)), "i", None, "default")
    assert (kept.capabilities, kept.progress_token) == (b'{"roots":{}}', b"3")


@pytest.mark.parametrize("method", ["GET", "DELETE", "connect", "status", "introspection"])
def test_what_only_fronts_may_ask_no_client_can(method: str) -> None:
    message = Message(b"1", method, b"")
    for arrival in (classify.arrive_plain(message), classify.arrive_bare(message, b"session")):
        with pytest.raises(Rejected, match="Method not found"):
            classify.understand(arrival, "i", None, "default")
