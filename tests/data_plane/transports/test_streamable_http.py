"""Streams that outlive their request, and several messages in one: a whole worker over a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from tests.harness.agent import META, REVISION
from tests.harness.legacy_agent import Answer, LegacyAgent, legacy_agent
from tests.harness.wired import ANN, EVE, Wired, wired

PATH = "/acme/default/mcp"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
LISTS = {"toolsListChanged": True, "promptsListChanged": True}


@asynccontextmanager
async def listening(
    world: Wired, filter_: dict[str, object], id_: object = "s-1", key: bytes = ANN
) -> AsyncIterator[Answer]:
    agent = LegacyAgent(key.decode(), PATH)
    message = {
        "jsonrpc": "2.0",
        "id": id_,
        "method": "subscriptions/listen",
        "params": {"notifications": filter_, "_meta": META},
    }
    head = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": REVISION,
        "Mcp-Method": "subscriptions/listen",
    }
    try:
        yield await agent.send(world.one.port, "POST", json.dumps(message).encode(), head)
    finally:
        agent.leave()


def without(world: Wired, tool: str) -> object:
    tools = tuple(one for one in world.catalogue.tools if one.name != tool)
    return msgspec.structs.replace(world.catalogue, tools=tools)


@pytest.mark.parametrize("id_", ["s-1", 7])
async def test_a_subscription_is_acknowledged_tagged_and_told_of_what_it_asked_for(compiled: Path, id_: object) -> None:
    async with wired(compiled) as world, listening(world, LISTS, id_) as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
        first = await answer.message()
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"] == {"notifications": LISTS, "_meta": {SUBSCRIPTION: id_}}
        world.swap(catalogue=without(world, "echo"))
        told = await answer.message()
        assert told["method"] == "notifications/tools/list_changed"
        assert told["params"] == {"_meta": {SUBSCRIPTION: id_}}
        world.swap()
        world.swap(without_keys=(ANN,))
        last = await answer.rest()
        result = {"resultType": "complete", "_meta": {SUBSCRIPTION: id_}}
        assert last == [{"jsonrpc": "2.0", "id": id_, "result": result}], "unchanged lists, and the end of its rights"
        assert len(world.one.listeners) == 0


async def test_what_a_caller_does_not_see_changes_for_others_only(compiled: Path) -> None:
    async with wired(compiled) as world, listening(world, LISTS, key=EVE) as answer:
        await answer.message()
        world.swap(catalogue=without(world, "echo"))
        world.swap(without_keys=(EVE,))
        assert [message.get("method") for message in await answer.rest()] == [None]


async def test_a_resource_is_heard_of_from_its_acknowledgement_on(compiled: Path) -> None:
    async with wired(compiled) as world, legacy_agent(ANN.decode(), PATH) as agent:
        await agent.begin(world.one.port)
        asked = {"resourceSubscriptions": ["matrix://watched", "matrix://nowhere"]}
        async with listening(world, asked) as answer:
            first = await answer.message()
            assert first["params"]["notifications"] == {"resourceSubscriptions": ["matrix://watched"]}  # type: ignore[index]
            await agent.text(world.one.port, "touch", uri="matrix://watched")
            told = await answer.message()
            assert told["params"] == {"uri": "matrix://watched", "_meta": {SUBSCRIPTION: "s-1"}}


async def test_a_resource_that_a_caller_has_no_more_is_not_heard_of_any_more(compiled: Path) -> None:
    async with wired(compiled) as world, legacy_agent(ANN.decode(), PATH) as agent:
        await agent.begin(world.one.port)
        async with listening(world, {"resourceSubscriptions": ["matrix://watched"]}) as answer:
            await answer.message()
            kept = tuple(one for one in world.catalogue.resources if one.name != "matrix://watched")
            world.swap(catalogue=msgspec.structs.replace(world.catalogue, resources=kept))
            await agent.text(world.one.port, "touch", uri="matrix://watched")
            world.swap(without_keys=(ANN,))
            assert [message.get("method") for message in await answer.rest()] == [None]


async def test_a_client_that_leaves_is_forgotten(compiled: Path) -> None:
    async with wired(compiled) as world:
        async with listening(world, LISTS) as answer:
            await answer.message()
            assert len(world.one.listeners) == 1
        async with asyncio.timeout(5):
            while len(world.one.listeners):
                await asyncio.sleep(0.01)


async def test_a_silent_stream_is_kept_alive(compiled: Path) -> None:
    async with wired(compiled, quiet_s=0.2) as world, legacy_agent(ANN.decode(), PATH) as agent:
        await agent.begin(world.one.port)
        stream = await agent.stream(world.one.port)
        assert await stream.event() is not None
        assert await stream.comment() == ": ping"


async def test_a_filter_that_breaks_a_rule_is_answered_not_streamed(compiled: Path) -> None:
    async with wired(compiled) as world:
        async with listening(world, {"toolsListChanged": "yes"}) as answer:
            assert (answer.status, answer.json()["error"]["code"]) == (400, -32602)  # type: ignore[index]
        async with listening(world, LISTS, key=b"tgk_acme_k9_wrong") as answer:
            assert answer.status == 401


# === sessions ===


@pytest.mark.parametrize("revision", ["2025-03-26", "2025-06-18", "2025-11-25"])
async def test_only_those_who_can_take_it_up_again_get_ids(compiled: Path, revision: str) -> None:
    async with wired(compiled) as world, legacy_agent(ANN.decode(), PATH, revision) as agent:
        await agent.begin(world.one.port)
        stream = await agent.stream(world.one.port)
        resumable = revision == "2025-11-25"
        if resumable:
            event = await stream.event()
            assert event is not None
            assert (event.message, bool(event.id)) == (None, True)
        world.swap(catalogue=without(world, "echo"))
        told = await stream.event()
        assert told is not None
        assert bool(told.id) is resumable
        assert told.message == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}}
        call = await agent.call(world.one.port, "steps", {"steps": 2}, progressToken="p")
        events = [await call.event() for _ in range(4 if resumable else 3)]
        assert all(event is not None and bool(event.id) is resumable for event in events)


async def test_a_get_needs_a_session_and_an_event_stream(compiled: Path) -> None:
    async with wired(compiled) as world, legacy_agent(ANN.decode(), PATH) as agent:
        port = world.one.port
        assert (await agent.stream(port)).status == 400
        await agent.begin(port)
        assert (await agent.send(port, "GET", b"", {"Accept": "application/json"})).status == 406
        other = "B" if agent.session[10] == "A" else "A"
        agent.session = agent.session[:10] + other + agent.session[11:]
        assert (await agent.stream(port)).status == 404
        assert await agent.end(port) == 404


# === URL elicitations ===


COMPLETE = "notifications/elicitation/complete"


async def sent_to_a_page(agent: LegacyAgent, port: int, tool: str) -> Answer:
    call = await agent.call(port, tool)
    assert await agent.reply(port, await call.message(), {"action": "accept"}) == 202
    return call


async def test_that_the_user_is_done_at_a_page_is_told_on_the_call_that_sent_them(handshake: Wired) -> None:
    port = handshake.one.port
    async with legacy_agent(ANN.decode(), PATH) as agent:
        await agent.begin(port, elicitation={"url": {}})
        call = await sent_to_a_page(agent, port, "ask_url_done")
        told, answered = await call.rest()
        assert (told["method"], told["params"]) == (COMPLETE, {"elicitationId": "page-3"})
        assert "accept" in json.dumps(answered["result"])
    assert {one.principal for one in handshake.one.inbounds if one.method == "tools/call"} == {"acme/ann/"}


async def test_that_the_user_is_done_later_is_told_on_the_stream_of_the_session_that_sent_them(compiled: Path) -> None:
    async with (
        wired(compiled, era="legacy", workers=2) as world,
        legacy_agent(ANN.decode(), PATH) as agent,
        legacy_agent(ANN.decode(), PATH) as other,
    ):
        one, two = (worker.port for worker in world.workers)
        for who in (agent, other):
            await who.begin(one, elicitation={"url": {}})
        streams = await agent.stream(two), await other.stream(two)
        assert "accept" in json.dumps((await (await sent_to_a_page(agent, one, "ask_url")).rest())[-1]["result"])
        for _ in range(2):  # Told once.
            await agent.text(one, "page_done", name="page-1")
        told = await streams[0].message()
        assert (told["method"], told["params"]) == (COMPLETE, {"elicitationId": "page-1"})
        world.swap(catalogue=without(world, "echo"))
        for stream in streams:
            assert (await stream.message())["method"] == "notifications/tools/list_changed"


# === batches ===


def request(id_: object, method: str, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


@pytest.fixture
async def batching(compiled: Path) -> AsyncIterator[tuple[int, LegacyAgent]]:
    async with wired(compiled) as world, legacy_agent(ANN.decode(), PATH, "2025-03-26") as agent:
        await agent.begin(world.one.port, elicitation={})
        yield world.one.port, agent


async def test_a_batch_is_answered_as_an_array(batching: tuple[int, LegacyAgent]) -> None:
    port, agent = batching
    answer = await agent.post(
        port,
        [
            request(1, "tools/call", name="echo", arguments={"text": "a"}),
            request("two", "ping"),
            {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
            {"jsonrpc": "2.0", "id": "nobody asked", "result": {}},
            request(3, "no/such"),
            {"id": 4},
            request(5, "initialize", protocolVersion="2025-03-26"),
        ],
    )
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    by_id = {message["id"]: message for message in json.loads(answer.body)}
    assert by_id[1]["result"]["content"][0]["text"] == "a"
    assert by_id["two"]["result"] == {}
    assert {id_: message["error"]["code"] for id_, message in by_id.items() if "error" in message} == {
        3: -32601,
        None: -32600,
        5: -32600,
    }


async def test_a_batch_whose_calls_have_more_to_tell_is_a_stream(batching: tuple[int, LegacyAgent]) -> None:
    port, agent = batching
    steps = request(1, "tools/call", name="steps", arguments={"steps": 3}, _meta={"progressToken": "p"})
    answer = await agent.post(port, [steps, request(2, "ping")])
    assert answer.streams
    messages = await answer.rest()
    assert {message["id"] for message in messages if "id" in message} == {1, 2}
    progress = [message for message in messages if "method" in message]
    assert [message["params"]["progressToken"] for message in progress] == ["p"] * len(progress)  # type: ignore[index]
    of_call = [message for message in messages if "method" in message or message.get("id") == 1]
    assert of_call[-1]["id"] == 1, "progress comes before its result"


async def test_a_batch_of_nothing_to_answer_is_taken(batching: tuple[int, LegacyAgent]) -> None:
    port, agent = batching
    answer = await agent.post(port, [{"jsonrpc": "2.0", "method": "notifications/initialized"}] * 2)
    assert (answer.status, answer.body) == (202, b"")


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_has_a_size(batching: tuple[int, LegacyAgent], count: int) -> None:
    port, agent = batching
    answer = await agent.post(port, [request(number, "ping") for number in range(count)])
    assert (answer.status, answer.json()["error"]["code"]) == (400, -32600)  # type: ignore[index]


@pytest.mark.parametrize(
    ("revision", "capabilities"),
    [("2025-03-26", {}), ("2025-06-18", {"elicitation": {}}), ("2025-11-25", {}), ("2025-11-25", {"elicitation": {}})],
)
async def test_a_page_to_be_visited_is_named_in_words_to_sessions_without_a_word_for_it(
    handshake: Wired, revision: str, capabilities: dict[str, object]
) -> None:
    async with legacy_agent(ANN.decode(), PATH, revision) as agent:
        await agent.begin(handshake.one.port, **capabilities)
        answer = await agent.call(handshake.one.port, "needs_page")
        result = answer.json()["result"]
        assert set(result) == {"content", "isError"}  # type: ignore[call-overload]
        assert "https://example.com/first" in json.dumps(result)


async def test_a_page_to_be_visited_is_an_error_of_its_own_to_sessions_that_know_it(handshake: Wired) -> None:
    async with legacy_agent(ANN.decode(), PATH) as agent:
        await agent.begin(handshake.one.port, elicitation={"url": {}})
        answer = await agent.call(handshake.one.port, "needs_page")
        error = answer.json()["error"]
        assert (error["code"], error["data"]["elicitations"][0]["elicitationId"]) == (-32042, "page-2")  # type: ignore[index]
