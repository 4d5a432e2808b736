"""The handshake revisions on a real server: sessions without a store, notifications, cancellation."""

import asyncio
import json

import pytest
from front_harness import KEY, Site, call, request

from data_plane.fronts.mail import Cancelled, mark

SESSION = "Mcp-Session-Id"


async def test_a_session_begins_and_serves_calls(site: Site) -> None:
    token = await site.session()
    assert all(0x21 <= ord(letter) <= 0x7E for letter in token)
    assert len(token) < 300
    reply = await site.post(call(id=7), {SESSION: token, "MCP-Protocol-Version": "2025-11-25"})
    assert reply.status == 200
    assert reply.body == (
        b'{"jsonrpc":"2.0","id":7,"result":{"content":[{"type": "text", "text": "hi"}],"x-vendor":{"kept":true}}}'
    )


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("1900-01-01", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("", "2025-11-25"),
    ],
)
async def test_initialize_settles_on_a_revision(site: Site, asked: str, answered: str) -> None:
    body = {"jsonrpc": "2.0", "id": "i", "method": "initialize", "params": {"protocolVersion": asked}}
    reply = await site.post(body)
    assert reply.json() == {
        "jsonrpc": "2.0",
        "id": "i",
        "result": {
            "protocolVersion": answered,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "toolgate", "version": "9.8.7"},
            "instructions": "Be kind.",
        },
    }


async def test_a_list_for_a_session_carries_nothing_modern_and_every_schema_keyword(site: Site) -> None:
    token = await site.session()
    reply = await site.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, {SESSION: token})
    result = reply.json()["result"]
    assert result.keys() == {"tools"}
    assert result["tools"][0]["inputSchema"]["x-vendor"] == [1, {"$anchor": "a"}]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 400, -32600),
        ({SESSION: ""}, 400, -32600),
        ({SESSION: "made-up"}, 404, 404),
        ({SESSION: "A" * 300}, 404, 404),
        ({SESSION: "x" * 20000}, 404, 404),
        ({SESSION: "\u00ff\u00fe"}, 404, 404),
        ({SESSION: ["a", "a"]}, 400, -32600),
        ({SESSION: "made-up", "MCP-Protocol-Version": "1999-01-01"}, 400, -32602),
        ({SESSION: "made-up", "Authorization": None}, 401, 401),
        ({"Authorization": [f"Bearer {KEY}", "Bearer other"]}, 400, -32600),
    ],
)
async def test_a_request_needs_its_session(site: Site, headers: dict, status: int, code: int) -> None:
    reply = await site.post(call(), headers)
    assert (reply.status, reply.json()["error"]["code"]) == (status, code)


async def test_a_session_is_useless_to_another_principal_or_endpoint(site: Site) -> None:
    token = await site.session()
    other = await site.post(call(), {SESSION: token, "Authorization": "Bearer tgk_acme_k2_other"})
    elsewhere = await site.post(call(), {SESSION: token}, "/acme/side/mcp")
    unknown = await site.post(call(), {SESSION: token[:-4] + "AAAA"})
    assert other.status == elsewhere.status == unknown.status == 404
    assert other.body == elsewhere.body == unknown.body


async def test_another_tenant_and_no_tenant_answer_alike(site: Site) -> None:
    replies = [await site.post(call(), {SESSION: "x"}, path) for path in ("/other/main/mcp", "/nobody/main/mcp")]
    replies.append(await site.post(call(), {SESSION: "x"}))
    assert {reply.status for reply in replies} == {404}
    assert len({reply.body for reply in replies}) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/mcp/",
        "/a/b/c/mcp",
        "/A/main/mcp",
        "/acme//mcp",
        "/acme/main/sse",
        "/%2e/x/mcp",
        "/acme%2Fmain/mcp",
        "/acme/main%2fmcp",
        "/acme%252Fmain/mcp",
    ],
)
async def test_a_path_that_leads_nowhere_is_not_found(site: Site, path: str) -> None:
    reply = await site.post(call(), path=path)
    assert (reply.status, reply.json()["error"]["code"]) == (404, 404)


async def test_the_short_path_means_the_credentials_own_tenant(site: Site) -> None:
    reply = await site.post(
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "x"}}, path="/mcp"
    )
    assert reply.status == 200
    assert (site.pipeline.seen[0].tenant, site.pipeline.seen[0].endpoint) == (None, "default")


async def test_errors_of_a_session_travel_as_200(site: Site) -> None:
    token = await site.session()
    unknown_tool = await site.post(call("nope"), {SESSION: token})
    no_name = await site.post({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {}}, {SESSION: token})
    unknown_method = await site.post({"jsonrpc": "2.0", "id": 3, "method": "no/such"}, {SESSION: token})
    codes = [(r.status, r.json()["error"]["code"], r.json()["id"]) for r in (unknown_tool, no_name, unknown_method)]
    assert codes == [(200, -32602, 1), (200, -32602, 2), (200, -32601, 3)]


async def test_a_notification_is_accepted_in_a_session_only(site: Site) -> None:
    body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    accepted = await site.post(body, {SESSION: await site.session()})
    assert (accepted.status, accepted.body) == (202, b"")
    assert (await site.post(body)).status == 400
    assert (await site.post(body, {SESSION: "made-up"})).status == 404


async def test_a_request_without_an_id_is_refused_and_runs_nothing(site: Site) -> None:
    token = await site.session()
    before = len(site.pipeline.seen)
    body = {key: value for key, value in call().items() if key != "id"}
    reply = await site.post(body, {SESSION: token})
    assert (reply.status, reply.json()["error"]["code"], reply.json()["id"]) == (400, -32600, None)
    assert len(site.pipeline.seen) == before


async def test_a_notification_with_an_id_is_a_method_that_is_not_there(site: Site) -> None:
    body = {"jsonrpc": "2.0", "id": 4, "method": "notifications/cancelled", "params": {"requestId": 1}}
    reply = await site.post(body, {SESSION: await site.session()})
    assert (reply.status, reply.json()["error"]["code"], reply.json()["id"]) == (200, -32601, 4)


async def test_a_batch_is_refused_where_the_revision_has_none(site: Site) -> None:
    token = await site.session()
    for head in ({}, {"MCP-Protocol-Version": "2025-11-25"}, {"MCP-Protocol-Version": "2026-07-28"}):
        for body in ([call()], []):
            reply = await site.post(body, {SESSION: token} | head)
            assert (reply.status, reply.json()["error"]["code"], reply.json()["id"]) == (400, -32600, None)


async def test_a_response_that_answers_nothing_is_taken_and_forgotten(site: Site) -> None:
    token = await site.session()
    for body in ({"jsonrpc": "2.0", "id": "made-up", "result": {}}, {"jsonrpc": "2.0", "id": 1, "error": {"code": 1}}):
        assert (await site.post(body, {SESSION: token})).status == 202
    assert (await site.post({"jsonrpc": "2.0", "id": 1, "result": {}}, {SESSION: "foreign"})).status == 404
    assert (await site.post({"jsonrpc": "2.0", "id": 1, "result": {}})).status == 400
    modern = {"MCP-Protocol-Version": "2026-07-28"}
    assert (await site.post({"jsonrpc": "2.0", "id": 1, "result": {}}, modern)).json()["error"]["code"] == -32600


async def test_a_client_that_takes_json_only_gets_json(site: Site) -> None:
    token = await site.session()
    reply = await site.post(call("progress", progressToken=1), {SESSION: token, "Accept": "application/json"})
    assert reply.header("content-type") == "application/json"
    assert reply.json()["result"]["content"][0]["text"] == "done"


@pytest.mark.parametrize("request_id", [5, "5", "\u00e9"])
async def test_a_cancelled_request_ends_with_its_error(site: Site, request_id: object) -> None:
    token = await site.session()
    waiting = asyncio.create_task(site.post(call("hang", id=request_id), {SESSION: token}))
    async with asyncio.timeout(20):
        await site.pipeline.started.wait()
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}
    escaped = await site.post(json.dumps(cancel).encode(), {SESSION: token})
    reply = await waiting
    assert escaped.status == 202
    assert site.pipeline.cancelled.is_set()
    assert (reply.status, reply.json()["error"]["code"], reply.json()["id"]) == (200, -32800, request_id)
    assert site.broadcast == []
    assert site.front.in_flight == 0


async def test_nobody_cancels_the_request_of_another_session(site: Site) -> None:
    token, other = await site.session(), await site.session()
    waiting = asyncio.create_task(site.post(call("hang", id=5), {SESSION: token}))
    async with asyncio.timeout(20):
        await site.pipeline.started.wait()
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
    assert (await site.post(cancel, {SESSION: other})).status == 202
    wrong_type = cancel | {"params": {"requestId": "5"}}
    assert (await site.post(wrong_type, {SESSION: token})).status == 202
    assert site.broadcast == [Cancelled(mark(other.encode()), b"5"), Cancelled(mark(token.encode()), b'"5"')]
    site.pipeline.go_on.set()
    assert (await waiting).json()["result"]["content"][0]["text"] == "waited"
    assert site.front.cancel(token.encode(), b"5") is False


async def test_leaving_does_not_cancel_the_call_of_a_session(site: Site) -> None:
    token = await site.session()
    wire = await site.connect()
    await wire.send(request(call("hang", id=5), {SESSION: token}))
    async with asyncio.timeout(20):
        await site.pipeline.started.wait()
    await wire.close()
    await site.post(call("echo"), {SESSION: token})
    assert site.front.in_flight == 1
    assert not site.pipeline.cancelled.is_set()
    assert site.front.cancel(token.encode(), b"5") is True
    async with asyncio.timeout(20):
        await site.pipeline.cancelled.wait()


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH"])
async def test_there_are_no_other_methods(site: Site, method: str) -> None:
    wire = await site.connect()
    await wire.send(request(b"", {SESSION: await site.session(), "Accept": "text/event-stream"}, method=method))
    status, headers = await wire.head()
    assert (status, dict(headers)["allow"]) == (405, "POST, GET, DELETE, OPTIONS")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_the_modern_protocol_has_nothing_but_post(site: Site, method: str) -> None:
    head = {"MCP-Protocol-Version": "2026-07-28", "Accept": "text/event-stream"}
    reply = await site.exchange(request(b"", head, method=method))
    assert (reply.status, reply.header("allow")) == (405, "POST, OPTIONS")
