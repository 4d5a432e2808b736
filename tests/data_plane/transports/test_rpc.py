"""Plain JSON-RPC for scripts, and the pages of JSON for people."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from tests.data_plane.fronts.front_harness import Reply, Wire, request
from tests.data_plane.transports.test_http_sse import LIMIT_S, exchange, get, post
from tests.harness.agent import META, REVISION
from tests.harness.upstream_matrix import Era
from tests.harness.wired import ANN, BOB, EVE, ORIGIN, VERSION, Wired, wired

PLACE = "/acme/default/rpc"


def asking(method: str, params: dict[str, object] | None = None, id_: object = 1) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": id_, "method": method, **({"params": params} if params is not None else {})}


def echo(text: str, id_: object = 1) -> dict[str, object]:
    return asking("tools/call", {"name": "echo", "arguments": {"text": text}}, id_)


def bare(body: object, place: str = PLACE) -> bytes:
    """What a script sends at least."""
    return request(body, {"Accept": None, "Authorization": f"Bearer {ANN.decode()}"}, place)  # type: ignore[arg-type]


def page_of_tools() -> bytes:
    """The same over Streamable HTTP."""
    headers = {"MCP-Protocol-Version": REVISION, "Mcp-Method": "tools/list", "Authorization": f"Bearer {ANN.decode()}"}
    return request(asking("tools/list", {"_meta": META}), headers, "/acme/default/mcp")  # type: ignore[arg-type]


async def page(world: Wired, leaf: str, key: bytes = ANN, **headers: str | None) -> Reply:
    fields = {"Accept": "application/json", **headers}
    return await exchange(world.one, get(f"/acme/default/{leaf}", key, **fields))


async def test_a_request_needs_nothing_but_itself(world: Wired) -> None:
    reply = await exchange(world.one, bare(echo("hi", "a")))
    assert (reply.status, reply.header("content-type")) == (200, "application/json")
    answer = reply.json()
    assert (answer["id"], answer["result"]["resultType"]) == ("a", "complete")
    assert answer["result"]["content"][0]["text"] == "hi"
    found = await exchange(world.one, bare(asking("tools/list")))
    over_http = await exchange(world.one, page_of_tools())
    assert found.header("etag") == over_http.header("etag") is not None
    listed = found.json()["result"]["tools"]
    assert [tool["name"] for tool in listed] == [tool.name for tool in world.catalogue.tools]
    assert [inbound.transport for inbound in world.one.inbounds] == ["rpc", "rpc", "streamable_http"]


async def test_an_envelope_of_its_own_is_taken_as_it_is(world: Wired) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    capabilities = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    params = {"name": "ask_form", "arguments": {}}
    whole = asking("tools/call", {**params, "_meta": {**meta, **capabilities}})
    asked = (await exchange(world.one, bare(whole))).json()["result"]
    assert asked["resultType"] == "input_required"
    answers = {"inputResponses": {"who": {"action": "accept", "content": {"name": "Ada"}}}}
    again = {**params, **answers, "requestState": asked["requestState"], "_meta": {**meta, **capabilities}}
    done = (await exchange(world.one, bare(asking("tools/call", again)))).json()["result"]
    assert json.loads(done["content"][0]["text"])["who"]["content"] == {"name": "Ada"}
    for broken, code in (({**meta}, -32602), ({**capabilities, next(iter(meta)): "1999-01-01"}, -32022)):
        reply = await exchange(world.one, bare(asking("tools/list", {"_meta": broken})))
        assert (reply.status, reply.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, -32700),
        ([echo("x")], 400, -32600),
        (asking("no/such"), 404, -32601),
        (asking("initialize"), 404, -32601),
        (asking("status"), 404, -32601),
        (asking("subscriptions/listen", {"notifications": {}}), 404, -32601),
        (asking("tools/call", {"name": "nobody-has-this"}), 400, -32602),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, 400, -32600),
    ],
)
async def test_what_is_wrong_is_said_with_a_status_and_a_code(
    world: Wired, body: object, status: int, code: int
) -> None:
    reply = await exchange(world.one, bare(body))
    assert (reply.status, reply.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_what_a_client_says_in_meta_of_its_own_reaches_the_server(compiled: Path, era: Era) -> None:
    meta = {"com.example/run": {"step": 7}, "paid": "4111 1111 1111 1111", "progressToken": "p"}
    asked = asking("tools/call", {"name": "whoami", "arguments": {}, "_meta": meta})
    async with wired(compiled, era=era) as gateway:
        answer = (await exchange(gateway.one, bare(asked))).json()["result"]
    told = json.loads(answer["content"][0]["text"])["meta"]
    assert (told["com.example/run"], told["paid"]) == ({"step": 7}, "[masked:card]")
    assert told.get("progressToken") != "p"


async def test_a_server_that_asks_who_cannot_be_asked_is_told_so_and_the_caller_what_it_lacks(handshake: Wired) -> None:
    """It asks on the stream of its session, where nobody would answer."""
    async with asyncio.timeout(5):
        reply = await exchange(handshake.one, bare(asking("tools/call", {"name": "ask_aside", "arguments": {}})))
    assert (reply.status, reply.json()["error"]["code"]) == (400, -32021)
    assert reply.json()["error"]["data"] == {"requiredCapabilities": {"elicitation": {}}}


async def test_a_page_to_be_visited_is_named_in_words_to_who_cannot_be_sent_there(handshake: Wired) -> None:
    reply = await exchange(handshake.one, bare(asking("tools/call", {"name": "needs_page", "arguments": {}})))
    result = reply.json()["result"]
    assert (reply.status, result["isError"], result["resultType"]) == (200, True, "complete")
    assert "Please connect first.: https://example.com/first" in result["content"][0]["text"]


async def test_a_notification_is_accepted_and_has_no_answer(world: Wired) -> None:
    reply = await exchange(world.one, bare({"jsonrpc": "2.0", "method": "notifications/anything"}))
    assert (reply.status, reply.body) == (202, b"")


async def test_strangers_pages_and_methods_are_refused_as_everywhere(world: Wired) -> None:
    for leaf in ("rpc", "rpc/batch"):
        place = f"/acme/default/{leaf}"
        body: object = [echo("x")] if leaf == "rpc/batch" else echo("x")
        nobody = await post(world.one, place, body, Authorization=None)
        assert (nobody.status, nobody.header("www-authenticate")) == (401, 'Bearer realm="toolgate"')
        evil = await post(world.one, place, body, Origin="https://evil.example")
        assert (evil.status, evil.header("access-control-allow-origin")) == (403, None)
        good = await post(world.one, place, body, Origin=ORIGIN)
        assert (good.status, good.header("access-control-allow-origin")) == (200, ORIGIN)
        silent: object = {"jsonrpc": "2.0", "method": "notifications/anything"}
        silent = [silent] if leaf == "rpc/batch" else silent
        assert (await post(world.one, place, silent, Authorization=None)).status == 401
        assert (await post(world.one, place, body, Content_Type="text/plain")).status == 400
        assert (await post(world.one, place.replace("default", "other"), body)).status == 404
        looked = await exchange(world.one, get(place))
        assert (looked.status, looked.header("allow")) == (405, "POST, OPTIONS")
    preflight = get(PLACE, method="OPTIONS", Origin=ORIGIN, **{"Access-Control-Request-Method": "POST"})
    assert (await exchange(world.one, preflight)).header("access-control-allow-origin") == ORIGIN


async def test_a_batch_runs_at_once_and_answers_in_its_order(world: Wired) -> None:
    name = {"arguments": {"name": "batch"}}
    batch = [
        asking("tools/call", {"name": "slow", **name}, "waits"),
        {"jsonrpc": "2.0", "method": "notifications/anything"},
        asking("tools/call", {"name": "until_started", **name}, "sees"),
        asking("tools/call", {"name": "release", **name}, "releases"),
        {"broken": True},
        asking("no/such", id_="odd"),
    ]
    answers = (await post(world.one, PLACE + "/batch", batch)).json()
    assert [answer["id"] for answer in answers] == ["waits", "sees", "releases", None, "odd"]
    assert [answer["result"]["content"][0]["text"] for answer in answers[:3]] == ["released", "started", "let go"]
    assert [answer["error"]["code"] for answer in answers[3:]] == [-32600, -32601]


async def test_a_batch_has_from_one_to_a_hundred_messages(world: Wired) -> None:
    assert len((await post(world.one, PLACE + "/batch", [echo("x", n) for n in range(100)])).json()) == 100
    for wrong in ([], [echo("x", n) for n in range(101)], echo("x")):
        assert (await post(world.one, PLACE + "/batch", wrong)).status == 400
    silent = await post(world.one, PLACE + "/batch", [{"jsonrpc": "2.0", "method": "notifications/x"}])
    assert (silent.status, silent.body) == (202, b"")


async def test_a_script_that_goes_away_cancels_what_it_asked_for(world: Wired) -> None:
    wire = Wire(*await asyncio.open_connection("127.0.0.1", world.one.port))
    slow = asking("tools/call", {"name": "slow", "arguments": {"name": "s"}})
    await wire.send(request(slow, {"Authorization": f"Bearer {ANN.decode()}"}, PLACE))
    await post(world.one, PLACE, asking("tools/call", {"name": "until_started", "arguments": {"name": "s"}}))
    await wire.close()
    ended = await post(world.one, PLACE, asking("tools/call", {"name": "until_cancelled", "arguments": {"name": "s"}}))
    assert ended.json()["result"]["content"][0]["text"] == "cancelled"
    async with asyncio.timeout(LIMIT_S):
        while world.one.others.in_flight:
            await asyncio.sleep(0.01)


async def test_when_the_time_to_drain_is_over_a_script_is_told(world: Wired) -> None:
    slow = asking("tools/call", {"name": "slow", "arguments": {"name": "d"}})
    waiting = asyncio.create_task(post(world.one, PLACE, slow))
    await post(world.one, PLACE, asking("tools/call", {"name": "until_started", "arguments": {"name": "d"}}))
    world.one.others.abandon()
    reply = await waiting
    assert (reply.status, "shutting down" in reply.json()["error"]["message"]) == (503, True)


async def test_introspection_shows_what_the_caller_sees_and_may_call(world: Wired) -> None:
    shown = (await page(world, "rpc/introspection")).json()
    assert {"server/discover", "tools/call", "prompts/get", "resources/read", "completion/complete"} <= set(
        shown["methods"]
    )
    assert "subscriptions/listen" not in shown["methods"]
    assert [tool["name"] for tool in shown["tools"]] == [tool.name for tool in world.catalogue.tools]
    assert shown["tools"][0] == json.loads(world.catalogue.tools[0].definition)
    assert [one["uri"] for one in shown["resources"]] == [one.name for one in world.catalogue.resources]
    assert [one["name"] for one in shown["prompts"]] == [one.name for one in world.catalogue.prompts]
    nothing = (await page(world, "rpc/introspection", EVE)).json()
    assert (nothing["tools"], nothing["prompts"], nothing["resources"]) == ([], [], [])
    for method in shown["methods"]:
        assert (await post(world.one, PLACE, asking(method, {}))).json().get("error", {}).get("code") != -32601


async def test_status_counts_what_the_caller_sees_of_which_servers(world: Wired) -> None:
    reply = await page(world, "status")
    assert (reply.status, reply.header("cache-control")) == (200, "no-store")
    shown = reply.json()
    counts = {"tools": len(world.catalogue.tools), "prompts": 4, "resources": 5, "resourceTemplates": 0}
    assert {name: shown[name] for name in counts} == counts
    assert (shown["endpoint"], shown["generation"], shown["version"]) == ("default", 1, VERSION)
    (server,) = shown["servers"]
    assert {name: server[name] for name in counts} == counts
    assert (server["name"], server["reachable"], server["era"]) == ("matrix", True, "modern")
    world.swap(catalogue=msgspec.structs.replace(world.catalogue, unavailable=("matrix",)))
    shown = (await page(world, "status")).json()
    assert (shown["generation"], shown["servers"][0]["reachable"]) == (2, False)


async def test_a_server_of_which_one_sees_nothing_is_not_in_the_status(world: Wired) -> None:
    assert (await page(world, "status", BOB)).json()["servers"] != []
    shown = (await page(world, "status", EVE)).json()
    assert (shown["tools"], shown["servers"]) == (0, [])
    assert "matrix" not in json.dumps(shown)
    empty = {"tools": (), "prompts": (), "resources": ()}
    world.swap(catalogue=msgspec.structs.replace(world.catalogue, **empty))
    (server,) = (await page(world, "status", EVE)).json()["servers"]
    assert (server["name"], server["tools"]) == ("matrix", 0)


async def test_a_server_of_which_one_sees_nothing_says_nothing_of_itself(world: Wired) -> None:
    spoken = {
        "unavailable": ("matrix",),
        "own_instructions": "Be kind.",
        "server_instructions": {"matrix": "I am the matrix."},
        "instructions": "Be kind.\n\n## matrix\n\nI am the matrix.",
    }
    world.swap(catalogue=msgspec.structs.replace(world.catalogue, **spoken))
    told = {}
    for key in (BOB, EVE):
        listed = (await post(world.one, PLACE, asking("tools/list"), key)).json()["result"]
        told[key] = (await page(world, "capabilities", key)).json()["instructions"], listed["_meta"]
    assert told[BOB][0] == spoken["instructions"]
    assert told[BOB][1]["toolgate/unavailable"] == ["matrix"]
    assert told[EVE][0] == "Be kind."
    assert "toolgate/unavailable" not in told[EVE][1]


async def test_capabilities_say_the_revisions_and_the_ways_in(world: Wired) -> None:
    shown = (await page(world, "capabilities")).json()
    assert shown["supportedVersions"][0] == "2026-07-28"
    assert shown["capabilities"]["resources"] == {"subscribe": True, "listChanged": True}
    assert shown["instructions"] == "Be kind."
    base = "localhost/acme/default"
    assert shown["transports"]["websocket"] == f"ws://{base}/ws"
    assert shown["transports"]["sse"] == f"http://{base}/sse"
    assert "ttlMs" not in shown


async def test_capabilities_are_of_what_the_caller_sees(world: Wired) -> None:
    greeting = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    begin = asking("initialize", greeting)
    for key, kinds in ((ANN, {"tools", "prompts", "resources", "completions", "logging"}), (EVE, set[str]())):
        discovered = (await page(world, "capabilities", key)).json()["capabilities"]
        headers = {"Authorization": f"Bearer {key.decode()}"}
        begun = (await exchange(world.one, request(begin, headers, "/acme/default/mcp"))).json()["result"]
        assert (set(discovered), begun["capabilities"]) == (kinds, discovered)
        shown = (await page(world, "rpc/introspection", key)).json()
        assert ("prompts/get" in shown["methods"]) == ("prompts" in kinds)


async def test_pages_are_for_those_with_a_key_and_to_be_looked_at_only(world: Wired) -> None:
    for leaf in ("status", "capabilities", "rpc/introspection"):
        assert (await page(world, leaf, b"tgk_acme_k9_x")).status == 401
        assert (await page(world, leaf, Origin="https://evil.example")).status == 403
        assert (await exchange(world.one, get(f"/other/default/{leaf}"))).status == 404
        assert (await exchange(world.one, get(f"/acme/default/servers/none/{leaf}"))).status == 404
        assert (await exchange(world.one, get(f"/acme/default/servers/matrix/{leaf}"))).status == 200
        assert (await post(world.one, f"/acme/default/{leaf}", {})).status == 405


async def test_a_browser_sees_all_the_ways_in_and_nothing_of_a_tenant(world: Wired) -> None:
    for leaf in ("mcp", "sse", "ws", "rpc"):
        shown = await page(world, leaf, b"", Accept="text/html")
        text = shown.body.decode()
        assert shown.status == 200
        for way in ("/mcp", "/sse", "/ws", "/rpc", "/rpc/batch", "/rpc/introspection", "/status", "/capabilities"):
            assert f"//localhost/acme/default{way}<" in text or f'"http://localhost/acme/default{way}"' in text
        assert "ws://localhost/acme/default/ws" in text
        assert (await exchange(world.one, get("/nobody/none/mcp", Accept="text/html"))).status == 200
