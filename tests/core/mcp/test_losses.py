"""What a result, an error, a question or a notification loses and gains between revisions: the table, and nothing else.

The table is written down here a second time, over plain JSON; any result made of what MCP has and of what it does not
have must come out as the table says, to the member. What is not in the table stays byte for byte.
"""

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.crypto.sealing import AesGcmSealer
from core.call import Inbound, Notification, Question
from core.errors import Unavailable
from core.mcp import errors, notifications, rewrite, rounds, sse, tickets, translate
from core.mcp.revisions import LEGACY, MODERN, SUPPORTED
from core.sealing import SealBroken
from data_plane.upstreams.sse import EventParser

PREFIX = "io.modelcontextprotocol/"
INFO = {"name": "toolgate", "version": "1"}
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6, width=32) | st.text(max_size=6)
)
JSON = st.recursive(
    SCALARS, lambda few: st.lists(few, max_size=3) | st.dictionaries(st.text(max_size=4), few, max_size=3), max_leaves=6
)
TEXT = st.text(max_size=8)
VENDORS = st.dictionaries(st.text(max_size=6).map(lambda name: f"x-{name}"), JSON, max_size=2)
META = st.dictionaries(st.sampled_from(["vendor/a", "b", PREFIX + "serverInfo", PREFIX + "subscriptionId"]), JSON)


def an(**members: st.SearchStrategy) -> st.SearchStrategy:
    """An object with any of these members and some of a vendor's; a name that begins with `_`, without it: always."""
    always = {name[1:]: value for name, value in members.items() if name.startswith("_") and name != "_meta"}
    maybe = {name: value for name, value in members.items() if name[1:] not in always}
    known = st.fixed_dictionaries(always, optional=maybe)
    return st.builds(lambda theirs, ours: theirs | ours, VENDORS, known)


ICONS = st.lists(an(_src=TEXT, sizes=TEXT), max_size=1)
NAMED = {"_name": TEXT, "title": TEXT, "description": TEXT, "icons": ICONS, "_meta": META}
CONTENT = st.one_of(
    an(_type=st.just("text"), _text=TEXT, annotations=JSON, _meta=META),
    an(_type=st.just("image"), _data=TEXT, _mimeType=TEXT),
    an(_type=st.just("audio"), _data=TEXT, _mimeType=TEXT),
    an(_type=st.just("resource_link"), _uri=TEXT, name=TEXT, title=TEXT),
    an(_type=st.just("resource"), _resource=an(_uri=TEXT, text=TEXT, blob=TEXT)),
    an(_type=TEXT),
)
SCHEMA = an(type=st.sampled_from(["object", "array", "string"]), properties=JSON)
PAGE = {"nextCursor": TEXT}
RESULTS: dict[str, st.SearchStrategy] = {
    "tools/call": an(_content=st.lists(CONTENT, max_size=3), structuredContent=JSON, isError=st.booleans()),
    "tools/list": an(
        _tools=st.lists(an(**NAMED, _inputSchema=SCHEMA, outputSchema=SCHEMA, annotations=an(title=TEXT)), max_size=3),
        **PAGE,
    ),
    "prompts/list": an(_prompts=st.lists(an(**NAMED, arguments=st.lists(an(**NAMED), max_size=2)), max_size=3), **PAGE),
    "prompts/get": an(_messages=st.lists(an(_role=TEXT, _content=CONTENT), max_size=3), description=TEXT),
    "resources/list": an(_resources=st.lists(an(**NAMED, _uri=TEXT, size=SCALARS), max_size=3), **PAGE),
    "resources/templates/list": an(_resourceTemplates=st.lists(an(**NAMED, _uriTemplate=TEXT), max_size=3), **PAGE),
    "resources/read": an(_contents=st.lists(an(_uri=TEXT, text=TEXT, blob=TEXT), max_size=3)),
    "completion/complete": an(_completion=an(_values=st.lists(TEXT), total=SCALARS)),
    "ping": an(),
}
LISTED = {"prompts/list": "prompts", "resources/list": "resources", "resources/templates/list": "resourceTemplates"}
HINTED = {"tools/list", *LISTED, "resources/read"}
MODERN_ONLY = an(resultType=st.just("complete"), ttlMs=st.integers(0, 9), cacheScope=st.just("public"), _meta=META)


@st.composite
def results(draw: st.DrawFn) -> tuple[str, dict]:
    method = draw(st.sampled_from(sorted(RESULTS)))
    return method, draw(MODERN_ONLY) | draw(RESULTS[method])


def translated(value: dict, method: str, upstream: str | None, revision: str) -> dict:
    raw = json.dumps(value).encode()
    info = json.dumps(INFO).encode()
    return loaded(translate.result(raw, method=method, upstream=upstream, revision=revision, server_info=info))


def loaded(raw: bytes) -> dict:
    return json.loads(raw, object_pairs_hook=once)


def once(pairs: list[tuple[str, object]]) -> dict:
    """A member twice is read one way here and another way there."""
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


# === the table ===


def up(value: dict, method: str) -> dict:
    """MCP 2026-07-28 requires `resultType`, wants `serverInfo`, and hints on lists and reads."""
    if "resultType" in value and "_meta" in value:
        return value
    wanted: dict[str, object] = {"resultType": "complete"}
    if method in HINTED and "resultType" not in value:
        wanted |= {"ttlMs": 0, "cacheScope": "private"}
    return wanted | value | {"_meta": {PREFIX + "serverInfo": INFO} | value.get("_meta", {})}


def down(value: dict, method: str, revision: str) -> dict:
    value = {name: one for name, one in value.items() if name not in ("resultType", "ttlMs", "cacheScope")}
    meta = value.get("_meta")
    if meta and any(name.startswith(PREFIX) for name in meta):
        kept = {name: one for name, one in meta.items() if not name.startswith(PREFIX)}
        value = {**value, "_meta": kept} if kept else {n: one for n, one in value.items() if n != "_meta"}
    old = revision < "2025-06-18"
    if method == "tools/call":
        if "structuredContent" in value and (old or not isinstance(value["structuredContent"], dict)):
            del value["structuredContent"]
        value["content"] = [content(one, revision) for one in value["content"]]
    elif method == "tools/list":
        value["tools"] = [tool(one, old=old) for one in value["tools"]]
    elif method == "prompts/get":
        value["messages"] = [one | {"content": content(one["content"], revision)} for one in value["messages"]]
    elif method in LISTED and old:
        listed = LISTED[method]
        value[listed] = [{name: one for name, one in entry.items() if name != "title"} for entry in value[listed]]
    return value


def content(item: dict, revision: str) -> dict:
    if item["type"] == "resource_link" and revision < "2025-06-18":
        return {"type": "text", "text": f"{item['name']}: {item['uri']}" if item.get("name") else item["uri"]}
    if item["type"] == "audio" and revision < "2025-03-26":
        return {"type": "text"}
    return item


def tool(one: dict, *, old: bool) -> dict:
    kept = {name: value for name, value in one.items() if not (old and name == "title")}
    if "outputSchema" in one and (old or one["outputSchema"].get("type") != "object"):
        del kept["outputSchema"]
    return kept


def texts_apart(shown: dict, method: str) -> dict:
    """What stands for sound says so in words that are nobody's contract."""
    items = shown["content"] if method == "tools/call" else [one["content"] for one in shown.get("messages", [])]
    for item in items:
        if (
            item.get("type") == "text"
            and str(item.get("text")).startswith("[audio, ")
            and item.keys() == {"type", "text"}
        ):
            del item["text"]
    return shown


@given(results(), st.sampled_from(LEGACY), st.sampled_from(["modern", None]))
def test_down_loses_what_the_table_says_and_nothing_else(
    made: tuple[str, dict], revision: str, upstream: str | None
) -> None:
    method, value = made
    shown = texts_apart(translated(value, method, upstream, revision), method)
    assert shown == normal(down(value, method, revision))


@given(results(), st.sampled_from(LEGACY))
def test_from_an_older_server_nothing_is_lost_that_its_client_knows(made: tuple[str, dict], revision: str) -> None:
    method, value = made
    shown = texts_apart(translated(value, method, "legacy", revision), method)
    assert shown == normal(value if revision >= "2025-06-18" else down(value, method, revision))


@given(results(), st.sampled_from(["modern", "legacy"]))
@example(("resources/read", {"contents": [], "ttlMs": 5, "cacheScope": "public"}), "legacy")
@example(("tools/list", {"tools": [], "_meta": {PREFIX + "serverInfo": {"name": "theirs"}}}), "modern")
def test_up_adds_what_the_revision_requires_and_loses_nothing(made: tuple[str, dict], upstream: str) -> None:
    method, value = made
    assert translated(value, method, upstream, MODERN[0]) == normal(up(value, method))


@given(results())
def test_what_went_up_comes_down_as_it_was(made: tuple[str, dict]) -> None:
    method, value = made
    plain = down(value, method, LEGACY[0])
    if not plain.get("_meta", True):
        del plain["_meta"]
    assert translated(translated(plain, method, "legacy", MODERN[0]), method, "modern", LEGACY[0]) == normal(plain)


def normal(value: dict) -> dict:
    """As it reads once written: floats as their texts say."""
    return json.loads(json.dumps(value))


ODD = b'{ "minimum" : 1.50e+00 , "\\u0061nyOf":[ 1E2,"\\/" ], "$ref":"#\\/x" , "big":123456789012345678901234567890 }'


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize("upstream", ["modern", "legacy", None])
@pytest.mark.parametrize(
    ("method", "around"),
    [
        (
            "tools/list",
            b'{"resultType":"complete","tools":[{"name":"t","title":"T","outputSchema":{},"inputSchema":%b}]}',
        ),
        ("tools/call", b'{"ttlMs":1,"content":[{"type":"audio"},{"type":"text","x":%b}],"structuredContent":[1]}'),
        ("prompts/list", b'{"prompts":[{"name":"p","title":"T","x":%b}],"ttlMs":1}'),
        ("prompts/get", b'{"messages":[{"content":{"type":"audio"}},{"content":{"type":"text","x":%b}}],"ttlMs":1}'),
        ("resources/read", b'{"contents":[%b],"_meta":{"io.modelcontextprotocol/x":1,"v":2}}'),
        ("completion/complete", b'{"completion":%b,"resultType":"complete"}'),
    ],
)
def test_what_is_not_touched_keeps_its_bytes(method: str, around: bytes, upstream: str | None, revision: str) -> None:
    shown = translate.result(
        around % ODD, method=method, upstream=upstream, revision=revision, server_info=b'{"name":"toolgate"}'
    )
    assert ODD in shown


@pytest.mark.parametrize("meta", [None, 1, "x", [], [PREFIX]])
@pytest.mark.parametrize("revision", SUPPORTED)
def test_a_meta_that_is_no_object_breaks_nothing(meta: object, revision: str) -> None:
    shown = translated({"content": [], "_meta": meta}, "tools/call", "legacy", revision)
    assert shown["content"] == []
    if revision in MODERN:
        assert shown["_meta"] == {PREFIX + "serverInfo": INFO}


def test_a_modern_key_spelt_with_escapes_is_one_all_the_same() -> None:
    raw = b'{"content":[],"_meta":{"io.modelcontextprotocol\\/serverInfo":{"name":"theirs"},"a":1}}'
    down_ = translate.result(raw, method="tools/call", upstream="modern", revision=LEGACY[0], server_info=b"{}")
    assert loaded(down_) == {"content": [], "_meta": {"a": 1}}
    up_ = translate.result(raw, method="tools/call", upstream="modern", revision=MODERN[0], server_info=b"{}")
    assert loaded(up_)["_meta"] == {PREFIX + "serverInfo": {"name": "theirs"}, "a": 1}


@pytest.mark.parametrize("method", ["prompts/get", "resources/read"])
@pytest.mark.parametrize("revision", LEGACY)
def test_what_is_no_result_of_its_method_for_a_session_is_an_error(method: str, revision: str) -> None:
    """Of a tool there is a result that says it failed; of a prompt and a resource there is none."""
    with pytest.raises(Unavailable):
        translated({"resultType": "input_required", "requestState": "s"}, method, "modern", revision)


# === errors ===

CODES = [-32700, -32600, -32601, -32602, -32603, -32002, -32042, -32020, -32021, -32022, -32000, 7]


@given(
    an(_code=st.sampled_from(CODES), _message=TEXT, data=JSON),
    st.sampled_from(sorted(RESULTS)),
    st.sampled_from(SUPPORTED),
    st.sampled_from(["modern", "legacy"]),
)
def test_an_error_changes_its_code_by_the_table_and_only_a_resources_its_data(
    error: dict, method: str, revision: str, upstream: str
) -> None:
    inbound = an_inbound(method, revision, name="file:///a")
    status, raw = errors.relay(json.dumps(error).encode(), inbound, upstream)
    shown, modern = loaded(raw), revision in MODERN
    code = error["code"]
    about_a_resource = method == "resources/read" and (
        code == -32002 or (code == -32602 and (modern or upstream == "modern"))
    )
    if about_a_resource:
        code = -32602 if modern else -32002
        data = error.get("data", {})
        assert shown["data"] == normal((data if isinstance(data, dict) else {"detail": data}) | {"uri": "file:///a"})
        error = error | {"data": shown["data"]}
    elif modern:
        code = {-32002: -32602, -32042: -32602}.get(code, code)
    else:
        code = {-32020: -32600, -32021: -32602, -32022: -32600}.get(code, code)
    assert shown == normal(error | {"code": code})
    mapped = {-32601: 404, -32700: 400, -32600: 400, -32602: 400, -32020: 400, -32021: 400, -32022: 400}
    assert status == (mapped.get(code, 200) if modern else 200)


def an_inbound(method: str, revision: str, **changes: object) -> Inbound:
    era = "modern" if revision in MODERN else "legacy"
    known = {"id": "i", "tenant": None, "endpoint": "e", "transport": "t", "credential": b""}
    return Inbound(**known | {"method": method, "revision": revision, "era": era} | changes)


# === questions ===

ELICITATION = an(
    mode=st.sampled_from(["form", "url"]), message=TEXT, url=TEXT, elicitationId=TEXT, requestedSchema=JSON, _meta=META
)


@given(ELICITATION, st.sampled_from(LEGACY))
def test_a_question_for_a_session_differs_in_its_mode_and_its_id_alone(params: dict, revision: str) -> None:
    asked = Question("elicitation/create", json.dumps(params).encode())
    shown = loaded(rounds.for_legacy(asked, revision, "minted").params)
    expected = dict(params)
    if params.get("mode", "form") == "url":
        expected.setdefault("elicitationId", "minted")
    elif revision < "2025-11-25":
        expected.pop("mode", None)
    assert shown == normal(expected)


@given(an(messages=JSON, elicitationId=TEXT, task=JSON, mode=st.just("form"), _meta=META | an(progressToken=SCALARS)))
def test_a_question_for_a_modern_client_loses_what_tied_it_to_its_wire(params: dict) -> None:
    shown = loaded(rounds.for_modern(Question("sampling/createMessage", json.dumps(params).encode())).params)
    expected = {name: value for name, value in params.items() if name not in ("elicitationId", "task")}
    if "_meta" in expected:
        kept = {name: value for name, value in params["_meta"].items() if name != "progressToken"}
        expected = expected | {"_meta": kept} if kept else {n: v for n, v in expected.items() if n != "_meta"}
    assert shown == normal(expected)


@given(ELICITATION)
def test_a_question_survives_both_bridges(params: dict) -> None:
    asked = Question("elicitation/create", json.dumps(params).encode())
    once_, twice = rounds.for_modern(asked), rounds.for_modern(rounds.for_legacy(asked, "2025-11-25", "minted"))
    assert loaded(once_.params) == loaded(twice.params)


# === notifications ===


@given(an(progress=SCALARS, total=SCALARS, message=TEXT), st.sampled_from([b"1", b'"t"', b'"\\u0061"', None]))
def test_progress_gets_the_callers_token_and_keeps_all_else(params: dict, token: bytes | None) -> None:
    told = Notification("notifications/progress", json.dumps(params).encode())
    out = notifications.outgoing(told, an_inbound("tools/call", LEGACY[0], progress_token=token))
    if token is None:
        assert out is None
        return
    assert out is not None
    expected = {"jsonrpc": "2.0", "method": told.method, "params": params | {"progressToken": json.loads(token)}}
    assert loaded(out) == normal(expected)
    assert b'"progressToken":' + token in out


@given(
    an(level=st.sampled_from(["debug", "error", "loud"]), data=JSON),
    st.sampled_from(["", "debug", "error"]),
    st.booleans(),
)
def test_a_log_message_is_whole_or_not_at_all(params: dict, wanted: str, modern: bool) -> None:
    told = Notification("notifications/message", json.dumps(params).encode())
    revision = MODERN[0] if modern else LEGACY[0]
    out = notifications.outgoing(told, an_inbound("tools/call", revision, log_level=wanted))
    level = params.get("level")
    loud_enough = level == "error" or (level == "debug" and wanted == "debug")
    assert (out is not None) == (loud_enough if wanted else not modern)
    assert out is None or loaded(out)["params"] == normal(params)


@given(an(_uri=TEXT, _meta=META | SCALARS))
def test_news_of_a_subscription_say_which_and_keep_all_else(params: dict) -> None:
    told = Notification("notifications/resources/updated", json.dumps(params).encode())
    shown = loaded(notifications.subscribed(told, b'"listen-1"'))["params"]
    meta = params.get("_meta")
    expected = (meta if isinstance(meta, dict) else {}) | {PREFIX + "subscriptionId": "listen-1"}
    assert shown == normal(params | {"_meta": expected})


# === URIs ===

Rename = Callable[[str], str]


@given(results())
def test_uris_renamed_and_named_back_are_as_they_were(made: tuple[str, dict]) -> None:
    method, value = made
    raw = json.dumps(value).encode()
    there = rewrite.result(raw, method, lambda uri: f"git+{uri}")
    back = rewrite.result(there, method, lambda uri: uri.removeprefix("git+"))
    assert loaded(back) == normal(value)
    assert rewrite.result(raw, method, lambda uri: uri) is raw
    if method in ("resources/read", "tools/call", "prompts/get"):
        assert where_uris_are(loaded(there), method) == [f"git+{uri}" for uri in where_uris_are(value, method)]


def where_uris_are(value: dict, method: str) -> list[str]:
    if method == "resources/read":
        return [one["uri"] for one in value["contents"]]
    items = value["content"] if method == "tools/call" else [one["content"] for one in value["messages"]]
    found = []
    for item in items:
        if item["type"] == "resource_link":
            found.append(item["uri"])
        elif item["type"] == "resource" and "resource" in item:
            found.append(item["resource"]["uri"])
    return found


@given(st.binary(max_size=60))
def test_what_is_no_result_is_never_a_bug(raw: bytes) -> None:
    for method in RESULTS:
        try:
            rewrite.result(raw, method, str.upper)
        except msgspec.DecodeError:
            continue


# === events ===


@given(JSON, st.text(alphabet="ab-1", max_size=4), st.sampled_from([None, 1, 4]), st.integers(1, 7))
def test_a_message_in_an_event_is_the_message_that_a_client_reads(
    value: object, id_: str, indent: int | None, cut: int
) -> None:
    stream = sse.PING + sse.event(json.dumps(value, indent=indent).encode(), id_)
    parser = EventParser(1 << 20)
    events = [event for at in range(0, len(stream), cut) for event in parser.feed(stream[at : at + cut])]
    assert [json.loads(event.data) for event in events] == [json.loads(json.dumps(value))]
    assert parser.last_id == id_


# === tickets ===

CONTEXTS = st.lists(st.text(max_size=3), max_size=3)


@given(CONTEXTS, CONTEXTS, st.binary(min_size=1, max_size=4), st.none() | TEXT)
def test_a_ticket_opens_in_its_own_context_and_in_no_other(
    ours: list[str], theirs: list[str], digest: bytes, state: str | None
) -> None:
    ticket = tickets.Round(server="s", arguments_digest=digest, state=state, expires_unix=10)
    text = tickets.issue(ticket, AesGcmSealer(), b"k" * 32, *ours)
    assert tickets.redeem(tickets.Round, text, AesGcmSealer(), b"k" * 32, 9.0, *ours) == ticket
    for context, key, now in ((theirs, b"k", 9.0), (ours, b"l", 9.0), (ours, b"k", 10.0)):
        if context != ours or key != b"k" or now >= 10:
            with pytest.raises(SealBroken):
                tickets.redeem(tickets.Round, text, AesGcmSealer(), key * 32, now, *context)
