"""What a stranger says it can do, in whatever shape, before a server of each era: never the gateway's undoing."""

import json
from collections.abc import AsyncIterator

import pytest

from tests.data_plane.fronts.front_harness import META, MODERN, modern_headers
from tests.data_plane.transports.test_http_sse import post
from tests.harness.wired import Wired

SHAPES = [None, True, 1, "x", [], {}, {"x": "y"}, {"form": 1, "url": [], "tools": "t", "context": None}]
NAMES = ["elicitation", "sampling", "roots", "extensions", "tasks", "experimental", "x"]


async def answers(world: Wired) -> AsyncIterator[tuple[str, object, int, dict]]:
    for name in NAMES:
        for shape in SHAPES:
            meta = {META + "protocolVersion": MODERN, META + "clientCapabilities": {name: shape}}
            params = {"name": "echo", "arguments": {"text": "hi"}, "_meta": meta}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            headers = {one: value for one, value in modern_headers().items() if value}
            reply = await post(world.one, "/acme/default/mcp", body, **headers)
            yield name, shape, reply.status, json.loads(reply.body)


async def test_a_modern_server_may_refuse_what_it_is_told_and_nobody_else_does(world: Wired) -> None:
    async for name, shape, status, message in answers(world):
        served = status == 200 and message.get("result", {}).get("content") == [{"type": "text", "text": "hi"}]
        refused = status == 400 and message["error"]["code"] == -32602
        assert served or (refused and shape != {}), (name, shape, message)


async def test_a_server_of_the_handshake_era_is_told_what_can_be_told(handshake: Wired) -> None:
    async for name, shape, status, message in answers(handshake):
        assert status == 200, (name, shape, message)
        assert message["result"]["content"] == [{"type": "text", "text": "hi"}], (name, shape, message)


@pytest.mark.parametrize("capabilities", [None, 1, "x", [], [{}]])
async def test_what_is_no_object_is_refused(world: Wired, capabilities: object) -> None:
    meta = {META + "protocolVersion": MODERN, META + "clientCapabilities": capabilities}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    headers = {one: value for one, value in modern_headers("tools/list").items() if value}
    reply = await post(world.one, "/acme/default/mcp", body, **headers)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (400, -32602)
