"""Conversations on one connection, over HTTP+SSE and WebSocket alike: every revision, in front of both eras."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from mcp import Client
from mcp.client.sse import sse_client

from tests.conformance.websocket import websocket_client
from tests.harness.upstream_matrix import Era
from tests.harness.wired import ANN, Wired, Worker, wired
from tests.matrix.front import Front, Json, Lost, RpcError
from tests.matrix.pipes import Frames, Sse

MODERN = "2026-07-28"
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
TRANSPORTS = ("sse", "websocket")
LIMIT_S = 20.0


def bearer(key: bytes = ANN) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.decode()}"}


def front(worker: Worker, transport: str, revision: str, key: bytes = ANN, place: str = "/acme/default") -> Front:
    """A client that has yet to connect."""
    if transport == "sse":
        return Front(revision, Sse(worker.url("sse", place), bearer(key)))
    return Front(revision, Frames(worker.url("ws", place, "ws"), bearer(key)))


@pytest.fixture(scope="module", params=["modern", "legacy"])
def upstream(request: pytest.FixtureRequest) -> Era:
    era: Era = request.param
    return era


@pytest.fixture
async def gateway(compiled: Path, upstream: Era) -> AsyncIterator[Wired]:
    async with wired(compiled, era=upstream) as running:
        yield running


@pytest.mark.parametrize("mode", ["legacy", "auto", MODERN])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_official_client_lists_calls_and_hears_progress(world: Wired, transport: str, mode: str) -> None:
    if transport == "sse":
        way = sse_client(world.one.url("sse"), headers=bearer())
    else:
        way = websocket_client(world.one.url("ws"), [(b"Authorization", bearer()["Authorization"].encode())])
    heard: list[float] = []

    async def progress(done: float, _total: float | None, _message: str | None) -> None:
        heard.append(done)

    async with Client(way, mode=mode) as client:
        assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
        answer = await client.call_tool("steps", {"steps": 3}, progress_callback=progress)
        assert answer.content[0].text == "3 steps"  # type: ignore[union-attr]
        assert heard == [1, 2, 3]
        assert (await client.read_resource("matrix://text")).contents[0].text == "some text"  # type: ignore[union-attr]


@pytest.mark.parametrize("revision", [*LEGACY, MODERN])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_each_revision_calls_hears_and_fails_in_its_own_way(
    gateway: Wired, transport: str, revision: str
) -> None:
    async with front(gateway.one, transport, revision) as client:
        result = await client.call("echo", {"text": "hi"})
        assert result["content"][0]["text"] == "hi"
        assert ("resultType" in result) == (revision == MODERN)
        await client.call("steps", {"steps": 2}, {"progressToken": "mine"})
        steps = [m["params"] for m in client.heard if m["method"] == "notifications/progress"]
        assert [(step["progressToken"], step["progress"]) for step in steps] == [("mine", 1), ("mine", 2)]
        with pytest.raises(RpcError) as unknown:
            await client.call("nobody-has-this")
        assert unknown.value.code == -32602
        with pytest.raises(RpcError) as missing:
            await client.request("resources/read", {"uri": "matrix://nothing"})
        assert missing.value.code == (-32602 if revision == MODERN else -32002)
        with pytest.raises(RpcError) as method:
            await client.request("no/such")
        assert method.value.code == -32601


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25", MODERN])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_servers_questions_reach_the_client_and_its_answers_the_server(
    gateway: Wired, transport: str, revision: str
) -> None:
    async with front(gateway.one, transport, revision) as client:
        asked = json.loads((await client.call("ask_form"))["content"][0]["text"])
        assert asked["who"]["content"] == {"name": "seven"}
        many = json.loads((await client.call("ask_many"))["content"][0]["text"])
        assert many["sample"]["content"]["text"] == "Paris"
        assert many["roots"]["roots"][0]["uri"] == "file:///work"
        assert len(client.asked) == 4


@pytest.mark.parametrize("revision", ["2025-11-25", MODERN])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cancelled_call_ends_at_the_server_and_is_not_answered(
    gateway: Wired, transport: str, revision: str
) -> None:
    async with front(gateway.one, transport, revision) as client:
        slow = await client.begin("tools/call", {"name": "slow", "arguments": {"name": "a"}})
        await client.call("until_started", {"name": "a"})
        await client.cancel(slow)
        ended = await client.call("until_cancelled", {"name": "a"})
        assert ended["content"][0]["text"] == "cancelled"
        assert slow not in client._pending
        assert gateway.one.others.in_flight == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_question_whose_call_is_cancelled_is_taken_back(handshake: Wired, transport: str) -> None:
    async with front(handshake.one, transport, "2025-11-25") as client:
        asked = asyncio.Event()

        async def never(_: Json) -> Json:
            asked.set()
            await asyncio.Event().wait()
            return {}

        client.answers["elicitation/create"] = never
        back = client.expect("notifications/cancelled")
        call = await client.begin("tools/call", {"name": "ask_form", "arguments": {}})
        async with asyncio.timeout(LIMIT_S):
            await asked.wait()
        await client.cancel(call)
        assert str((await back)["requestId"]).startswith("ask-")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_session_hears_of_changed_lists_and_of_what_it_subscribed_to(gateway: Wired, transport: str) -> None:
    async with front(gateway.one, transport, "2025-11-25") as client:
        await client.request("resources/subscribe", {"uri": "matrix://watched"})
        updated = client.expect("notifications/resources/updated")
        await client.call("touch", {"uri": "matrix://watched"})
        assert (await updated)["uri"] == "matrix://watched"
        changed = client.expect("notifications/tools/list_changed")
        tools = gateway.catalogue.tools
        gateway.swap(catalogue=msgspec.structs.replace(gateway.catalogue, tools=tools[1:]))
        await changed
        listed = [tool["name"] for tool in (await client.request("tools/list"))["tools"]]
        assert tools[0].name not in listed
        await client.request("resources/unsubscribe", {"uri": "matrix://watched"})
        before = len(client.heard)
        await client.call("touch", {"uri": "matrix://watched"})
        await client.request("ping")
        assert client.heard[before:] == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_as_many_subscriptions_as_asked_for_each_marked_as_its_own(gateway: Wired, transport: str) -> None:
    async with front(gateway.one, transport, MODERN) as client:
        acknowledged = client.expect("notifications/subscriptions/acknowledged")
        lists = await client.begin("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        key = "io.modelcontextprotocol/subscriptionId"
        assert (await acknowledged)["_meta"][key] == lists
        acknowledged = client.expect("notifications/subscriptions/acknowledged")
        wanted = {"resourceSubscriptions": ["matrix://watched"]}
        resources = await client.begin("subscriptions/listen", {"notifications": wanted})
        assert await acknowledged == {"_meta": {key: resources}, "notifications": wanted}
        updated = client.expect("notifications/resources/updated")
        await client.call("touch", {"uri": "matrix://watched"})
        assert (await updated)["_meta"][key] == resources
        changed = client.expect("notifications/tools/list_changed")
        gateway.swap(catalogue=msgspec.structs.replace(gateway.catalogue, tools=gateway.catalogue.tools[:-1]))
        assert (await changed)["_meta"][key] == lists
        await client.cancel(lists)
        await client.call("echo", {"text": "-"})
        before = len(client.heard)
        gateway.swap(catalogue=msgspec.structs.replace(gateway.catalogue, tools=gateway.catalogue.tools[:-1]))
        await client.call("echo", {"text": "-"})
        assert client.heard[before:] == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_revision_2025_03_26_has_batches_and_no_other_has(world: Wired, transport: str) -> None:
    async with front(world.one, transport, "2025-03-26") as client:
        ping, called = await client.batch(("ping", {}), ("tools/call", {"name": "echo", "arguments": {"text": "b"}}))
        assert (ping, called["content"][0]["text"]) == ({}, "b")
        with pytest.raises(RpcError, match="Method not found"):
            await client.batch(("no/such", {}))
        hello = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        with pytest.raises(RpcError, match="part of a batch"):
            await client.batch(("initialize", hello))
    async with front(world.one, transport, "2025-06-18") as client:
        refused = asyncio.get_running_loop().create_future()
        client.pipe.deliver = refused.set_result
        await client.pipe.send([client.message(1, "ping", {}), client.message(2, "ping", {})], {})
        async with asyncio.timeout(LIMIT_S):
            answer = await refused
        assert (answer["id"], answer["error"]["code"]) == (None, -32600)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_one_server_of_an_endpoint_has_the_same_doors(world: Wired, transport: str) -> None:
    async with front(world.one, transport, MODERN, place="/acme/default/servers/matrix") as client:
        assert (await client.call("echo", {"text": "x"}))["content"][0]["text"] == "x"
    async with front(world.one, transport, "2025-06-18", place="/servers/matrix") as client:
        assert (await client.call("echo", {"text": "x"}))["content"][0]["text"] == "x"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_is_said_behind_an_initialize_waits_for_its_session(world: Wired, transport: str) -> None:
    client = front(world.one, transport, "2025-06-18")
    await client.pipe.open()
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    first = await client.begin("initialize", hello)
    await client.notify("notifications/initialized")
    second = await client.begin("tools/call", {"name": "echo", "arguments": {"text": "at once"}})
    assert (await client.answer(first))["protocolVersion"] == "2025-06-18"
    assert (await client.answer(second))["content"][0]["text"] == "at once"
    await client.pipe.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_without_initialize_there_is_no_session_and_each_message_is_proven(world: Wired, transport: str) -> None:
    client = front(world.one, transport, "2025-06-18")
    await client.pipe.open()
    with pytest.raises(RpcError, match="send initialize first"):
        await client.request("tools/list")
    await client.pipe.close()


@asynccontextmanager
async def talking(world: Wired, transport: str, revision: str) -> AsyncIterator[tuple[Front, Callable[[], bool]]]:
    """A client, and whether its connection is over."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(front(world.one, transport, revision))
        task = client.pipe._tasks["GET" if transport == "sse" else "receive"]  # type: ignore[attr-defined]
        yield client, task.done


async def over(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not done():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("revision", ["2025-11-25", MODERN])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_revoked_key_ends_the_conversation_at_once(world: Wired, transport: str, revision: str) -> None:
    async with talking(world, transport, revision) as (client, done):
        await client.call("echo", {"text": "still"})
        slow = await client.begin("tools/call", {"name": "slow", "arguments": {"name": "r"}})
        await client.call("until_started", {"name": "r"})
        world.swap(without_keys=(ANN,))
        await over(done)
        assert not client._pending[slow].done() or isinstance(client._pending[slow].exception(), Lost)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_ending_all_sessions_ends_those_of_connections_and_a_new_one_may_begin(
    world: Wired, transport: str
) -> None:
    async with talking(world, transport, "2025-11-25") as (client, done), talking(world, transport, MODERN) as other:
        await client.call("echo", {"text": "still"})
        world.swap(epoch=1)
        await over(done)
        assert (await other[0].call("echo", {"text": "no session"}))["content"][0]["text"] == "no session"
    async with front(world.one, transport, "2025-11-25") as client:
        assert (await client.call("echo", {"text": "again"}))["content"][0]["text"] == "again"


@pytest.mark.parametrize("initialized", [True, False])
async def test_a_session_of_before_is_refused_before_it_is_told_anything(world: Wired, initialized: bool) -> None:
    client = front(world.one, "websocket", "2025-11-25")
    await client.pipe.open()
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    await client.request("initialize", hello)
    if initialized:
        await client.notify("notifications/initialized")
        await client.request("ping")
    world.swap(epoch=1)
    late = await client.begin("tools/call", {"name": "echo", "arguments": {"text": "late"}})
    with pytest.raises((RpcError, Lost)):
        await client.answer(late)
    assert "tools/call" not in world.matrix.fixture.requests
    await over(client.pipe._tasks["receive"].done)  # type: ignore[attr-defined]
    await client.pipe.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_tenant_that_is_gone_takes_its_conversations_along(world: Wired, transport: str) -> None:
    async with talking(world, transport, MODERN) as (client, done):
        await client.call("echo", {"text": "still"})
        world.one.tenants.forget("acme")
        world.one.listeners.withdrawn("acme")
        await over(done)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_session_says_which_log_messages_it_wants(world: Wired, transport: str) -> None:
    async with front(world.one, transport, "2025-11-25") as client:
        await client.request("logging/setLevel", {"level": "warning"})
        await client.call("logs")
        logged = [m["params"]["level"] for m in client.heard if m["method"] == "notifications/message"]
        assert logged == ["warning", "error"]
    async with front(world.one, transport, MODERN) as client:
        await client.call("logs")
        await client.call("logs", meta={"io.modelcontextprotocol/logLevel": "error"})
        logged = [m["params"]["level"] for m in client.heard if m["method"] == "notifications/message"]
        assert logged == ["error"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_worker_that_leaves_lets_its_clients_finish_and_says_goodbye(world: Wired, transport: str) -> None:
    async with talking(world, transport, MODERN) as (client, done):
        slow = await client.begin("tools/call", {"name": "slow", "arguments": {"name": "l"}})
        await client.call("until_started", {"name": "l"})
        listening = await client.begin("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        await client.next("notifications/subscriptions/acknowledged")
        world.one.others.depart()
        assert (await client.answer(listening))["resultType"] == "complete"
        with pytest.raises(RpcError, match="shutting down"):
            await client.call("echo", {"text": "late"})
        assert not done()
        other = front(world.one, transport, MODERN)
        with pytest.raises(Exception, match=r"503|status"):
            await other.pipe.open()
        await other.pipe.close()
        world.one.others.abandon()
        with pytest.raises(RpcError, match="shutting down"):
            await client.answer(slow)
        await over(done)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_that_goes_away_leaves_nothing_behind(world: Wired, transport: str) -> None:
    async with front(world.one, transport, "2025-11-25") as client:
        await client.begin("tools/call", {"name": "slow", "arguments": {"name": "g"}})
        async with front(world.one, transport, MODERN) as witness:
            await witness.call("until_started", {"name": "g"})
            assert len(world.one.listeners) == 3
    async with front(world.one, transport, MODERN) as witness:
        assert (await witness.call("until_cancelled", {"name": "g"}))["content"][0]["text"] == "cancelled"
    await over(lambda: len(world.one.listeners) == 0 and world.one.others.in_flight == 0)
    assert world.one.others.bounds()["talks"].held == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_has_only_so_much_under_way_at_once(world: Wired, transport: str) -> None:
    async with front(world.one, transport, MODERN) as client:
        for _ in range(64):
            await client.begin("tools/call", {"name": "slow", "arguments": {"name": "many"}})
        with pytest.raises(RpcError, match="too many requests"):
            await client.call("echo", {"text": "one more"})
