"""Whatever bytes arrive, by whatever way: a request that the stages can rely on, or a rejection that is JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.mcp import classify, errors, headers, jsonrpc
from core.mcp.classify import Arrival
from core.mcp.errors import Rejected
from core.mcp.headers import Head
from core.mcp.jsonrpc import Answer, Message
from core.mcp.revisions import META_PREFIX, SUPPORTED

METHODS = [
    "tools/call", "tools/list", "prompts/get", "prompts/list", "resources/read", "resources/list",
    "resources/templates/list", "resources/subscribe", "completion/complete", "subscriptions/listen", "tasks/get",
    "tasks/update", "tasks/cancel", "server/discover", "initialize", "ping", "logging/setLevel",
    "notifications/cancelled", "notifications/initialized", "GET", "connect", "unknown",
]  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
)
JSON = st.recursive(
    SCALARS, lambda few: st.lists(few, max_size=3) | st.dictionaries(st.text(max_size=4), few, max_size=3), max_leaves=6
)
META = st.fixed_dictionaries(
    {},
    optional={
        META_PREFIX + "protocolVersion": st.sampled_from(SUPPORTED) | JSON,
        META_PREFIX + "clientCapabilities": st.just({}) | JSON,
        META_PREFIX + "logLevel": st.sampled_from(["info", "loud"]) | JSON,
        "progressToken": JSON,
        "traceparent": st.just(f"00-{'a' * 32}-{'b' * 16}-01") | JSON,
        "tracestate": JSON,
    },
)
NAMES = st.sampled_from(["name", "uri", "taskId", "arguments", "cursor", "ref", "requestState", "inputResponses", "x"])
PARAMS = st.builds(
    lambda some, meta: some | meta,
    st.dictionaries(NAMES, JSON | st.dictionaries(st.text(max_size=3), JSON, max_size=2), max_size=4),
    st.fixed_dictionaries({}, optional={"_meta": META | JSON}),
)
BODIES = st.fixed_dictionaries(
    {"method": st.sampled_from(METHODS)},
    optional={"id": st.integers() | st.text(max_size=4) | JSON, "params": PARAMS | JSON, "result": JSON},
).map(lambda body: json.dumps(body | {"jsonrpc": "2.0"}).encode())
HEADS = st.dictionaries(
    st.sampled_from(
        [b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id", b"mcp-param-a", b"origin"]
    ),
    st.sampled_from([one.encode() for one in (*SUPPORTED, *METHODS[:6])]) | st.binary(max_size=12),
)


def understood(arrival: Arrival) -> None:
    """What `understand` gives, as far as stages rely on it. Raises Rejected."""
    if arrival.era == "modern" and not arrival.message.id and arrival.mirrored:
        classify.modern_notification(arrival)
        return
    inbound = classify.understand(arrival, "i-1", None, "main")
    assert isinstance(json.loads(inbound.params), dict)
    assert isinstance(json.loads(inbound.arguments), dict)
    assert isinstance(json.loads(inbound.capabilities), dict)
    assert isinstance(json.loads(inbound.input_responses or b"{}"), dict)
    assert isinstance(json.loads(inbound.progress_token or b"1"), int | float | str)
    assert not (inbound.progress_token and not arrival.message.id)
    assert inbound.era != "modern" or inbound.revision in SUPPORTED


def reads_well(rejection: Rejected) -> None:
    answer = json.loads(errors.body(rejection.id, rejection.error))
    assert answer.keys() == {"jsonrpc", "id", "error"}
    assert rejection.error.status == 200 or 400 <= rejection.error.status < 500


@given(st.binary(max_size=80) | BODIES, HEADS)
def test_a_post_is_understood_or_rejected(body: bytes, head: dict[bytes, bytes]) -> None:
    try:
        understood(classify.arrive(jsonrpc.parse(body), headers.read(list(head.items()))))
    except Rejected as rejection:
        reads_well(rejection)


@given(st.binary(max_size=80) | BODIES, st.binary(max_size=3))
def test_a_message_on_a_connection_is_understood_or_rejected(body: bytes, session: bytes) -> None:
    try:
        message = jsonrpc.read(body)
        if isinstance(message, Answer):
            assert isinstance(json.loads(message.result or message.error), dict)
            return
        understood(classify.arrive_bare(message, session))
        understood(classify.arrive_plain(message))
    except Rejected as rejection:
        reads_well(rejection)


@given(st.binary(max_size=60) | st.lists(BODIES, max_size=4).map(lambda few: b"[" + b",".join(few) + b"]"))
def test_an_array_is_taken_apart_without_a_byte_lost(body: bytes) -> None:
    try:
        several = jsonrpc.batch(body)
    except Rejected as rejection:
        reads_well(rejection)
        return
    assert several is None or (json.loads(body) == [json.loads(one) for one in several])


@given(st.binary(max_size=60) | PARAMS.map(lambda params: json.dumps(params).encode()))
def test_any_params_name_a_cancelled_request_or_none(params: bytes) -> None:
    named = classify.cancelled_id(params)
    assert named == b"" or named in params


@pytest.mark.parametrize("token", [{}, [], True])
def test_a_notification_has_no_progress_to_be_told_of(token: object) -> None:
    params = {"_meta": {"progressToken": token}}
    message = Message(b"", "notifications/initialized", json.dumps(params).encode())
    arrival = classify.arrive(message, Head({b"mcp-session-id": b"s"}))
    assert classify.understand(arrival, "i", None, "e").progress_token is None


def test_a_rejection_of_what_has_no_id_has_a_null_id() -> None:
    assert errors.body(Rejected(400, -32600, "x", id=b"").id, Rejected(400, -32600, "x").error).startswith(
        b'{"jsonrpc":"2.0","id":null,'
    )


PATHS = st.sampled_from(["a", "a.b", "c"])
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "a": st.fixed_dictionaries({}, optional={"b": SCALARS}) | SCALARS,
        "c": st.text() | st.integers() | st.floats(min_value=0, max_value=1e300).map(float.__floor__).map(float),
    },
)


@given(ARGUMENTS.filter(lambda made: not isinstance(made.get("a"), float)), PATHS)
def test_the_headers_sent_with_arguments_match_them(arguments: dict, path: str) -> None:
    raw, declared = json.dumps(arguments).encode(), {path: "Token"}
    sent = headers.param_headers(declared, raw)
    received = headers.decode_params(Head({}, dict.fromkeys(["token"], sent[0][1]) if sent else None), b"1")
    value = arguments
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    exact = isinstance(value, str | bool | int) or (isinstance(value, float) and value.is_integer())
    if value is None or exact:
        assert headers.param_mismatch(received, declared, raw) == ""
        assert bool(sent) == (value is not None)


def test_a_large_integer_is_written_in_digits() -> None:
    assert headers.param_headers({"a": "T"}, b'{"a":1e22}') == ((b"Mcp-Param-T", b"1" + b"0" * 22),)


@pytest.mark.parametrize("argument", [{}, {"argument": None}, {"argument": []}, {"argument": "a"}])
def test_a_completion_of_nothing_is_refused_before_a_server_hears_of_it(argument: dict) -> None:
    params = {"ref": {"type": "ref/prompt", "name": "p"}} | argument
    message = Message(b"1", "completion/complete", json.dumps(params).encode())
    with pytest.raises(Rejected, match=r"params\.argument must be an object"):
        classify.understand(classify.arrive(message, Head({b"mcp-session-id": b"s"})), "i", None, "e")
