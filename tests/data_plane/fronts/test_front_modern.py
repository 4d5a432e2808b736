"""The modern era on a real server: every rung of the ladder, with its exact status, code and id."""

import json

import pytest
from front_harness import META, MODERN, Site, modern, modern_headers, request

from core.mcp.revisions import SUPPORTED

HEADERS = modern_headers()


def without(key: str) -> dict:
    body = modern()
    del body["params"]["_meta"][META + key]
    return body


RUNGS = [
    ("an evil host", modern(), HEADERS | {"Host": "evil.example"}, 421, -32600, None),
    ("a host that only begins well", modern(), HEADERS | {"Host": "localhost.evil.example"}, 421, -32600, None),
    ("an evil origin", modern(), HEADERS | {"Origin": "https://evil.example"}, 403, 403, 1),
    ("another content type", modern(), HEADERS | {"Content-Type": "text/plain"}, 400, -32600, None),
    ("no content type", modern(), HEADERS | {"Content-Type": None}, 400, -32600, None),
    ("another charset", modern(), HEADERS | {"Content-Type": "application/json; charset=latin1"}, 400, -32600, None),
    ("JSON only accepted", modern(), HEADERS | {"Accept": "application/json"}, 406, -32600, None),
    ("streams only accepted", modern(), HEADERS | {"Accept": "text/event-stream"}, 406, -32600, None),
    ("nothing accepted", modern(), HEADERS | {"Accept": None}, 406, -32600, None),
    (
        "JSON refused by its weight",
        modern(),
        HEADERS | {"Accept": "application/json;q=0, */*;q=0.0"},
        406,
        -32600,
        None,
    ),
    ("no JSON", b"{nope", HEADERS, 400, -32700, None),
    ("an empty body", b"", HEADERS, 400, -32700, None),
    ("an array", [modern()], HEADERS, 400, -32600, None),
    ("an empty array", [], HEADERS, 400, -32600, None),
    ("a posted response", {"jsonrpc": "2.0", "id": 1, "result": {}}, HEADERS, 400, -32600, None),
    ("a null id", modern(id=None), HEADERS, 400, -32600, None),
    ("a fractional id", modern(id=1.5), HEADERS, 400, -32600, None),
    ("a boolean id", modern(id=True), HEADERS, 400, -32600, None),
    ("an endless id", modern(id="x" * 2000), HEADERS, 400, -32600, None),
    ("another JSON-RPC", modern() | {"jsonrpc": "1.0"}, HEADERS, 400, -32600, None),
    ("a method that is no string", modern() | {"method": 7}, HEADERS, 400, -32600, None),
    ("params by position", modern() | {"params": []}, HEADERS, 400, -32600, None),
    ("the version header twice", modern(), HEADERS | {"MCP-Protocol-Version": [MODERN, MODERN]}, 400, -32020, 1),
    ("the method header twice", modern(), HEADERS | {"Mcp-Method": ["tools/call"] * 2}, 400, -32020, 1),
    ("no _meta", modern() | {"params": {"name": "echo"}}, HEADERS, 400, -32602, 1),
    ("a _meta that is no object", modern() | {"params": {"name": "echo", "_meta": 5}}, HEADERS, 400, -32602, 1),
    ("no params", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, HEADERS, 400, -32602, 1),
    ("no capabilities", without("clientCapabilities"), HEADERS, 400, -32602, 1),
    ("no version in _meta", without("protocolVersion"), HEADERS, 400, -32602, 1),
    ("missing _meta beats a header mismatch", without("protocolVersion"), modern_headers(name="x"), 400, -32602, 1),
    ("no version header", modern(), HEADERS | {"MCP-Protocol-Version": None}, 400, -32020, 1),
    ("a legacy version header", modern(), HEADERS | {"MCP-Protocol-Version": "2025-11-25"}, 400, -32020, 1),
    ("a version that is no string", modern(**{META + "protocolVersion": 3}), HEADERS, 400, -32020, 1),
    ("no method header", modern(), HEADERS | {"Mcp-Method": None}, 400, -32020, 1),
    ("another method header", modern(), HEADERS | {"Mcp-Method": "tools/list"}, 400, -32020, 1),
    ("the method in capitals", modern(), HEADERS | {"Mcp-Method": "TOOLS/CALL"}, 400, -32020, 1),
    ("no name header", modern(), HEADERS | {"Mcp-Name": None}, 400, -32020, 1),
    ("another name header", modern(), HEADERS | {"Mcp-Name": "other"}, 400, -32020, 1),
    (
        "a name that looks like its own encoding",
        modern(params={"name": "=?base64?ZWNobw==?="}),
        modern_headers(name="=?base64?ZWNobw==?="),
        400,
        -32020,
        1,
    ),
    (
        "a name header with the escapes of JSON",
        modern(params={"name": "ec\nho"}),
        modern_headers(name="ec\\nho"),
        400,
        -32020,
        1,
    ),
    ("a name in a broken sentinel", modern(), HEADERS | {"Mcp-Name": "=?base64?ZWNobw?="}, 400, -32020, 1),
    ("a resource's uri", modern("resources/read", {"uri": "a:b"}), modern_headers("resources/read"), 400, -32020, 1),
    (
        "a version not served",
        modern(**{META + "protocolVersion": "2099-01-01"}),
        HEADERS | {"MCP-Protocol-Version": "2099-01-01"},
        400,
        -32022,
        1,
    ),
    (
        "a handshake version in _meta",
        modern(**{META + "protocolVersion": "2025-11-25"}),
        HEADERS | {"MCP-Protocol-Version": "2025-11-25"},
        400,
        -32022,
        1,
    ),
    ("capabilities that are no object", modern(**{META + "clientCapabilities": []}), HEADERS, 400, -32602, 1),
    ("a bad log level", modern(**{META + "logLevel": "loud"}), HEADERS, 400, -32602, 1),
    ("a bad progress token", modern(progressToken={}), HEADERS, 400, -32602, 1),
    (
        "a parameter header that does not decode",
        modern(),
        HEADERS | {"Mcp-Param-Region": "=?base64?!?="},
        400,
        -32020,
        1,
    ),
    ("a parameter header twice", modern(), HEADERS | {"Mcp-Param-Region": ["a", "a"]}, 400, -32020, 1),
    ("no tool name", modern(params={"arguments": {}}), HEADERS, 400, -32602, 1),
    ("arguments that are no object", modern(params={"name": "echo", "arguments": []}), HEADERS, 400, -32602, 1),
    ("an unknown tool", modern(params={"name": "nope"}), modern_headers(name="nope"), 400, -32602, 1),
    ("an unknown method", modern("unknown/method"), modern_headers("unknown/method"), 404, -32601, 1),
    ("initialize", modern("initialize", {}), modern_headers("initialize"), 404, -32601, 1),
    ("ping", modern("ping"), modern_headers("ping"), 404, -32601, 1),
    ("setLevel", modern("logging/setLevel"), modern_headers("logging/setLevel"), 404, -32601, 1),
    ("subscribe", modern("resources/subscribe"), modern_headers("resources/subscribe"), 404, -32601, 1),
    ("no key", modern(), HEADERS | {"Authorization": None}, 401, 401, 1),
    ("another scheme", modern(), HEADERS | {"Authorization": "Basic eDp5"}, 401, 401, 1),
]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "id_"), [r[1:] for r in RUNGS], ids=[r[0] for r in RUNGS]
)
async def test_a_broken_request_fails_at_its_rung(site: Site, *, body, headers, status, code, id_) -> None:
    reply = await site.post(body, headers)
    answer = reply.json()
    assert (reply.status, answer["error"]["code"], answer["id"]) == (status, code, id_), answer
    assert reply.header("content-type") == "application/json"
    assert answer.keys() == {"jsonrpc", "id", "error"}


async def test_an_unsupported_version_is_told_what_is_served(site: Site) -> None:
    body = modern(**{META + "protocolVersion": "2099-01-01"})
    reply = await site.post(body, HEADERS | {"MCP-Protocol-Version": "2099-01-01"})
    assert reply.json()["error"]["data"] == {"supported": list(SUPPORTED), "requested": "2099-01-01"}


async def test_initialize_under_a_modern_header_is_told_what_is_served(site: Site) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}
    reply = await site.post(body, {"MCP-Protocol-Version": MODERN})
    assert (reply.status, reply.json()["error"]["code"]) == (400, -32022)


async def test_a_call_is_answered_with_what_the_revision_requires(site: Site) -> None:
    reply = await site.post(modern(id="a\u00e9"), HEADERS)
    result = reply.json()["result"]
    assert (reply.status, reply.json()["id"]) == (200, "a\u00e9")
    assert result["resultType"] == "complete"
    assert result["content"] == [{"type": "text", "text": "hi"}]
    assert result["x-vendor"] == {"kept": True}
    assert result["_meta"][META + "serverInfo"]["name"] == "toolgate"


@pytest.mark.parametrize("raw_id", [b"1", b"-7", b'"1"', b'"\\u0061\\n"', b"90071992547409931234", '"é"'.encode()])
async def test_an_id_comes_back_byte_for_byte(site: Site, raw_id: bytes) -> None:
    body = json.dumps(modern(id="ID")).encode().replace(b'"ID"', raw_id)
    reply = await site.post(body, HEADERS)
    assert b'"id":' + raw_id + b"," in reply.body


async def test_blanks_around_header_values_do_not_count(site: Site) -> None:
    reply = await site.post(modern(), HEADERS | {"Mcp-Name": "  echo \t ", "Mcp-Method": "tools/call  "})
    assert reply.status == 200


async def test_a_name_outside_ascii_travels_in_the_sentinel(site: Site) -> None:
    site.pipeline.tools["\u00e9cho"] = site.pipeline.echo
    body = modern(params={"name": "\u00e9cho", "arguments": {"text": "x"}})
    reply = await site.post(body, HEADERS | {"Mcp-Name": "=?base64?w6ljaG8=?="})
    assert reply.json()["result"]["content"][0]["text"] == "x"


async def test_parameter_headers_reach_the_pipeline_decoded(site: Site) -> None:
    await site.post(modern(), HEADERS | {"Mcp-Param-Region": "=?base64?w6k=?=", "mcp-param-size": " 42 "})
    assert site.pipeline.seen[-1].header_params == {"region": "\u00e9", "size": "42"}


async def test_a_notification_is_proven_accepted_and_dropped(site: Site) -> None:
    body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    reply = await site.post(body, {"MCP-Protocol-Version": MODERN})
    assert (reply.status, reply.body) == (202, b"")
    (seen,) = site.pipeline.seen
    assert (seen.method, seen.era, seen.params) == ("notifications/dropped", "modern", b"{}")


async def test_a_notification_of_a_version_not_served_is_refused(site: Site) -> None:
    reply = await site.post({"jsonrpc": "2.0", "method": "notifications/x"}, {"MCP-Protocol-Version": "2099-01-01"})
    assert (reply.status, reply.json()["error"]["code"], reply.json()["id"]) == (400, -32022, None)


async def test_a_notification_with_an_id_is_a_method_that_is_not_there(site: Site) -> None:
    method = "notifications/cancelled"
    reply = await site.post(modern(method, params={"requestId": 1}), modern_headers(method))
    assert (reply.status, reply.json()["error"]["code"]) == (404, -32601)
    assert site.pipeline.seen == []


async def test_discover_names_every_revision(site: Site) -> None:
    reply = await site.post(modern("server/discover"), modern_headers("server/discover"))
    result = reply.json()["result"]
    assert result.pop("_meta") == {META + "serverInfo": {"name": "toolgate", "version": "9.8.7"}}
    assert result == {
        "resultType": "complete",
        "supportedVersions": list(SUPPORTED),
        "capabilities": {"tools": {}},
        "instructions": "Be kind.",
        "ttlMs": 0,
        "cacheScope": "private",
    }


async def test_the_trace_context_comes_from_meta_before_the_headers(site: Site) -> None:
    inner, outer = f"00-{'a' * 32}-{'b' * 16}-01", f"00-{'c' * 32}-{'d' * 16}-00"
    await site.post(modern(traceparent=inner, tracestate="x=1"), HEADERS | {"traceparent": outer})
    await site.post(modern(), HEADERS | {"traceparent": outer, "tracestate": "y=2"})
    await site.post(modern(), HEADERS | {"traceparent": "rubbish"})
    seen = [(inbound.traceparent, inbound.tracestate) for inbound in site.pipeline.seen]
    assert seen == [(inner, "x=1"), (outer, "y=2"), ("", "")]


async def test_the_key_may_come_as_x_api_key(site: Site) -> None:
    reply = await site.post(modern(), HEADERS | {"Authorization": None, "X-API-Key": "k_1"})
    assert reply.status == 200
    assert site.pipeline.seen[-1].credential == b"k_1"


async def test_an_unauthenticated_caller_is_challenged(site: Site) -> None:
    reply = await site.exchange(request(modern(), HEADERS | {"Authorization": None}))
    assert (reply.header("www-authenticate") or "").startswith("Bearer")
