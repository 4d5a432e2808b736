import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.call import Inbound
from core.errors import Reason, Refused, Unavailable
from core.mcp import errors, results, sse, translate
from core.mcp.notifications import with_member
from core.mcp.revisions import LEGACY, MODERN, SUPPORTED

INFO = b'{"name":"toolgate","version":"1"}'
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
VENDOR = {"vendor/x": [1, {"y": None}], "big": 12345678901234567890}
CONTENT = [{"type": "text", "text": 'say "resultType" \u00e9'}]


def to(revision: str, value: dict, upstream: str | None, method: str = "tools/call") -> dict:
    raw = json.dumps(value).encode()
    return json.loads(translate.result(raw, method=method, upstream=upstream, revision=revision, server_info=INFO))


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=4), st.sampled_from(SUPPORTED))
def test_unknown_members_are_never_dropped(members: dict, revision: str) -> None:
    known = {"resultType", "_meta", "ttlMs", "cacheScope", "content", "structuredContent"}
    value = {"content": CONTENT} | {key: item for key, item in members.items() if key not in known}
    for upstream in ("modern", "legacy", None):
        out = to(revision, value, upstream)
        assert {key: item for key, item in out.items() if key not in known - {"content"}} == value


def test_what_needs_no_change_is_returned_as_it_came() -> None:
    modern = b' {"content" : [], "resultType":"complete", "_meta" : {} }'
    legacy = b'{ "content": [] , "x":1 }'
    same = (
        (modern, "modern", "2026-07-28"),
        (modern, None, "2026-07-28"),
        (legacy, "legacy", "2025-11-25"),
        (legacy, "modern", "2025-06-18"),
    )
    for value, upstream, revision in same:
        assert (
            translate.result(value, method="tools/call", upstream=upstream, revision=revision, server_info=INFO)
            is value
        )


def test_up_adds_what_the_modern_revision_requires() -> None:
    plain = to("2026-07-28", {"content": CONTENT, "isError": True} | VENDOR, "legacy")
    assert (
        plain
        == {
            "resultType": "complete",
            "content": CONTENT,
            "isError": True,
            "_meta": {SERVER_INFO: json.loads(INFO)},
        }
        | VENDOR
    )
    assert to("2026-07-28", {"_meta": {"a": 1}}, "legacy")["_meta"] == {"a": 1, SERVER_INFO: json.loads(INFO)}
    assert to("2026-07-28", {}, "modern")["resultType"] == "complete"
    assert to("2026-07-28", {"tools": []}, "legacy", "tools/list").keys() >= {"ttlMs", "cacheScope", "resultType"}


def test_an_input_request_reaches_a_modern_caller_untouched() -> None:
    asks = {"resultType": "input_required", "inputRequests": {"k": {}}, "requestState": "s", "_meta": {}}
    assert to("2026-07-28", asks, "modern") == asks


def test_an_input_request_is_a_failed_tool_to_a_session() -> None:
    out = to("2025-11-25", {"resultType": "input_required", "requestState": "s"}, "modern")
    assert out["isError"] is True
    assert out.keys() == {"content", "isError"}


@pytest.mark.parametrize("revision", LEGACY)
def test_down_takes_away_what_belongs_to_the_modern_revision(revision: str) -> None:
    value = {"resultType": "complete", "ttlMs": 1, "cacheScope": "private", "content": CONTENT} | VENDOR
    meta = {"io.modelcontextprotocol/serverInfo": {}, "vendor": 1}
    assert to(revision, value | {"_meta": meta}, "modern") == {"content": CONTENT, "_meta": {"vendor": 1}} | VENDOR
    assert to(revision, value | {"_meta": {SERVER_INFO: {}}}, "modern") == {"content": CONTENT} | VENDOR


@pytest.mark.parametrize("upstream", ["modern", "legacy"])
def test_structured_content_goes_where_it_is_understood(upstream: str) -> None:
    value = {"content": CONTENT, "structuredContent": {"a": 1}}
    assert to("2025-06-18", value, upstream) == value
    assert to("2025-03-26", value, upstream) == {"content": CONTENT}


def test_structured_content_that_is_no_object_stays_modern() -> None:
    value = {"content": CONTENT, "structuredContent": [1]}
    assert "structuredContent" not in to("2025-11-25", value, "modern")


def test_content_an_older_revision_does_not_know_becomes_text() -> None:
    link = {"type": "resource_link", "uri": "a:b", "name": "n"}
    audio = {"type": "audio", "data": "AA==", "mimeType": "audio/wav"}
    value = {"content": [link, audio, CONTENT[0]]}
    assert to("2025-06-18", value, "legacy") == value
    assert [item["type"] for item in to("2025-03-26", value, "legacy")["content"]] == ["text", "audio", "text"]
    oldest = to("2024-11-05", value, "modern")["content"]
    assert oldest[0] == {"type": "text", "text": "n: a:b"}
    assert "audio/wav" in oldest[1]["text"]
    assert oldest[2] == CONTENT[0]


def test_definitions_lose_only_what_an_older_revision_does_not_know() -> None:
    tool = {
        "name": "t",
        "title": "T",
        "inputSchema": {"$defs": {"x": True}},
        "outputSchema": {"type": "object"},
        "x": 1,
    }
    odd = tool | {"outputSchema": {"type": "array"}}
    page = {"tools": [tool, odd], "nextCursor": "c", "ttlMs": 0, "cacheScope": "private", "resultType": "complete"}
    newer = to("2025-11-25", page, None, "tools/list")
    older = to("2025-03-26", page, None, "tools/list")
    assert newer == {"tools": [tool, {k: v for k, v in odd.items() if k != "outputSchema"}], "nextCursor": "c"}
    assert older["tools"] == [{"name": "t", "inputSchema": tool["inputSchema"], "x": 1}] * 2


@pytest.mark.parametrize("value", [b"[1]", b"7", b"nonsense", b"", b'{"content":[7]}'])
def test_what_is_not_a_result_is_the_upstreams_failure(value: bytes) -> None:
    for revision in ("2026-07-28", "2024-11-05"):
        if value.startswith(b"{") and revision in MODERN:
            continue
        with pytest.raises(Unavailable) as failure:
            translate.result(value, method="tools/call", upstream="legacy", revision=revision, server_info=INFO)
        assert failure.value.reason is Reason.UPSTREAM_UNAVAILABLE


def inbound(era: str) -> Inbound:
    return Inbound(
        id="i",
        tenant=None,
        endpoint="e",
        transport="t",
        era=era,
        revision="r",
        method="tools/call",
        credential=b"",
        name="n",
    )


@pytest.mark.parametrize(
    ("code", "era", "status", "sent"),
    [
        (-32602, "modern", 400, -32602),
        (-32601, "modern", 404, -32601),
        (-32021, "modern", 400, -32021),
        (-32603, "modern", 200, -32603),
        (-32002, "modern", 400, -32602),
        (-32042, "modern", 400, -32602),
        (42, "modern", 200, 42),
        (-32601, "legacy", 200, -32601),
        (-32002, "legacy", 200, -32002),
        (-32020, "legacy", 200, -32600),
        (-32021, "legacy", 200, -32602),
    ],
)
def test_an_upstreams_error_keeps_all_but_a_code_of_another_era(code: int, era: str, status: int, sent: int) -> None:
    error = {"message": "m", "code": code, "data": {"uri": "a:b"}, "x": 1}
    got, body = errors.relay(json.dumps(error).encode(), inbound(era))
    assert (got, json.loads(body)) == (status, error | {"code": sent})


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_row_and_no_code_of_the_specs(reason: Reason, era: str) -> None:
    error = errors.of_failure(Refused(reason, 'a "public" text', data=b'{"a":1}'), inbound(era))
    assert 200 <= error.status < 600
    assert error.code > 0 or error.code in range(-32800, -32599) or error.code in (-32020, -32021, -32022)
    assert json.loads(errors.body(b'"x"', error))["error"]["message"] == error.message


def test_a_forbidden_tool_reads_like_an_unknown_one() -> None:
    for era in ("modern", "legacy"):
        forbidden = errors.of_failure(Refused(Reason.FORBIDDEN, "role says no", data=b"1"), inbound(era))
        unknown = errors.of_failure(Refused(Reason.UNKNOWN_TOOL, "no such tool"), inbound(era))
        assert forbidden == unknown


@given(st.dictionaries(st.text(), st.integers(), max_size=3))
def test_a_member_is_added_to_any_object(members: dict) -> None:
    for spaced in (json.dumps(members), json.dumps(members, indent=2), f" {json.dumps(members)} "):
        assert json.loads(with_member(spaced.encode(), b"\x1f".hex().encode(), b"1")) == {"1f": 1} | members


@given(st.text(alphabet='{}"\n\r: ', max_size=30))
def test_an_event_is_one_data_line_whatever_the_layout(text: str) -> None:
    lines = sse.event(text.encode()).split(b"\n")
    assert [line.partition(b":")[0] for line in lines] == [b"event", b"data", b"", b""]


def test_the_gateways_own_results_are_json() -> None:
    page = json.loads(
        results.list_result("tools", [b'{"name":"a"}', b'{"name":"b"}'], "c\u00e9", -5, "public", version="1")
    )
    assert page == {
        "resultType": "complete",
        "tools": [{"name": "a"}, {"name": "b"}],
        "nextCursor": "c\u00e9",
        "ttlMs": 0,
        "cacheScope": "public",
        "_meta": {SERVER_INFO: {"name": "toolgate", "version": "1"}},
    }
    assert json.loads(results.tool_error_result('"'))["content"] == [{"type": "text", "text": '"'}]


@pytest.mark.parametrize(
    ("method", "member"),
    [("prompts/list", "prompts"), ("resources/list", "resources"), ("resources/templates/list", "resourceTemplates")],
)
def test_entries_have_titles_from_the_revision_on_that_has_them(method: str, member: str) -> None:
    entry = {"name": "n", "title": "T", "vendor": {"title": "kept"}}
    for revision in LEGACY:
        out = to(revision, {"resultType": "complete", member: [entry, {"name": "m"}]}, None, method)
        assert ("title" in out[member][0]) == (revision >= "2025-06-18")
        assert out[member][0]["vendor"] == {"title": "kept"}
        assert out[member][1] == {"name": "m"}


def test_a_prompts_messages_are_told_in_what_the_revision_can_carry() -> None:
    link = {"type": "resource_link", "uri": "file:///a", "name": "a"}
    sound = {"type": "audio", "mimeType": "audio/wav", "data": "AA=="}
    value = {"messages": [{"role": "user", "content": item} for item in (link, sound, CONTENT[0])]}
    kinds = {
        revision: [m["content"]["type"] for m in to(revision, value, "modern", "prompts/get")["messages"]]
        for revision in LEGACY
    }
    assert kinds == {
        "2025-11-25": ["resource_link", "audio", "text"],
        "2025-06-18": ["resource_link", "audio", "text"],
        "2025-03-26": ["text", "audio", "text"],
        "2024-11-05": ["text", "text", "text"],
    }
