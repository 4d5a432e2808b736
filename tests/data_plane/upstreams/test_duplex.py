"""Many calls on one channel: whose an answer, a question or a piece of news is."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.call import Ask, Interest, Notification, Outgoing, Question, Raw, Reply
from core.errors import Reason, Unavailable
from data_plane.upstreams import duplex_watch
from data_plane.upstreams.duplex import Duplex
from data_plane.upstreams.greeting import Greeting
from data_plane.upstreams.jsonrpc import NotMcpError
from tests.harness.upstream_route import over_http, route_to

ALL = b'{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{"listChanged":true}}'
FORM = b'{"elicitation":{}}'
ROUTE = route_to(over_http("http://127.0.0.1:1/"), era="legacy")
NAME = {"mode": "form", "message": "Your name?", "requestedSchema": {"type": "object", "properties": {}}}
YES = Reply(result=b'{"action":"accept","content":{}}')

Json = dict[str, object]


class Server:
    """The far end of a channel, driven by hand."""

    def __init__(self, era: str = "legacy") -> None:
        self.sent: asyncio.Queue[Json] = asyncio.Queue()
        self.duplex = Duplex(self._write)
        revision = "2026-07-28" if era == "modern" else "2025-11-25"
        self.duplex.greeting = Greeting(era=era, revision=revision, logs=True)  # type: ignore[arg-type]

    def _write(self, message: bytes, request_id: int | None = None) -> None:
        self.sent.put_nowait(msgspec.json.decode(message))
        if request_id is not None:
            assert msgspec.json.decode(message)["id"] == request_id

    async def gets(self) -> Json:
        async with asyncio.timeout(5):
            return await self.sent.get()

    def says(self, **message: object) -> None:
        self.duplex.heard(msgspec.json.encode({"jsonrpc": "2.0", **message}))

    def answers(self, request: Json, text: str = "done") -> None:
        self.says(id=request["id"], result={"content": [{"type": "text", "text": text}]})


def calling(
    server: Server,
    ask: Ask | None = None,
    *,
    capabilities: bytes = ALL,
    principal: bytes = b"ada",
    **outgoing: object,
) -> "tuple[asyncio.Task[Raw], list[Notification]]":
    notes: list[Notification] = []
    sent = Outgoing(arguments=b"{}", capabilities=capabilities, principal=principal, **outgoing)  # type: ignore[arg-type]
    return asyncio.ensure_future(server.duplex.call(ROUTE, sent, notes.append, ask)), notes


async def accepts(_: Question) -> Reply:
    return YES


class Thinks:
    """An ask that never answers, and notes that it was given up."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.given_up = False

    async def __call__(self, _: Question) -> Reply:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up = True
        return YES


def code_of(message: Json) -> int:
    return message["error"]["code"]  # type: ignore[index,no-any-return]


async def test_answers_go_to_the_calls_they_belong_to_whatever_their_order() -> None:
    server = Server()
    tasks = [calling(server)[0] for _ in range(3)]
    requests = [await server.gets() for _ in range(3)]
    for request in reversed(requests):
        server.answers(request, str(request["id"]))
    texts = [msgspec.json.decode((await task).result)["content"][0]["text"] for task in tasks]
    assert texts == [str(request["id"]) for request in requests]
    assert server.duplex.in_flight == 0


async def test_any_method_is_sent_with_the_params_it_has() -> None:
    server = Server()
    task, _ = calling(server, method="prompts/get", members=b'"name":"hi","arguments":{"a":1},')
    request = await server.gets()
    assert (request["method"], request["params"]) == ("prompts/get", {"name": "hi", "arguments": {"a": 1}})
    server.says(id=request["id"], result={"messages": []})
    assert (await task).result == b'{"messages":[]}'


async def test_a_retry_of_the_modern_era_is_the_call_anew_for_a_legacy_server() -> None:
    server = Server()
    task, _ = calling(server, members=b'"inputResponses":{"a":{}},"requestState":"s","x":1,')
    request = await server.gets()
    assert request["params"] == {"name": "echo", "arguments": {}, "x": 1}
    server.answers(request)
    await task


async def test_a_question_is_put_to_the_one_call_under_way_and_answered_under_the_servers_id() -> None:
    server = Server()
    task, _ = calling(server, accepts)
    request = await server.gets()
    server.says(id="q-1", method="elicitation/create", params=NAME)
    assert await server.gets() == {"jsonrpc": "2.0", "id": "q-1", "result": {"action": "accept", "content": {}}}
    server.answers(request)
    await task


async def test_several_questions_are_open_at_once() -> None:
    server, release = Server(), asyncio.Event()

    async def together(question: Question) -> Reply:
        await release.wait()
        return Reply(result=msgspec.json.encode({"saw": question.method}))

    task, _ = calling(server, together)
    request = await server.gets()
    server.says(id=1, method="roots/list")
    server.says(id=2, method="sampling/createMessage", params={"messages": [], "maxTokens": 1})
    release.set()
    replies = [await server.gets(), await server.gets()]
    assert {(r["id"], r["result"]["saw"]) for r in replies} == {  # type: ignore[index]
        (1, "roots/list"),
        (2, "sampling/createMessage"),
    }
    server.answers(request)
    await task


async def test_a_server_that_asks_without_end_is_refused() -> None:
    async def never(_: Question) -> Reply:
        await asyncio.Event().wait()
        return YES

    for ask, most in ((accepts, 256), (never, 32)):
        server = Server()
        task, _ = calling(server, ask)
        request = await server.gets()
        for number in range(most + 1):
            server.says(id=number, method="roots/list")
            if ask is accepts and number < most:
                assert "result" in await server.gets()
        reply = await server.gets()
        assert (reply["id"], code_of(reply)) == (most, -32603)
        server.answers(request)
        await task


async def test_calls_of_one_caller_share_a_question_and_those_of_two_are_not_asked() -> None:
    for other, asked in ((b"ada", True), (b"bob", False), (b"", False)):
        server = Server()
        first, _ = calling(server, accepts)
        second, _ = calling(server, accepts, principal=other)
        requests = [await server.gets(), await server.gets()]
        server.says(id=9, method="elicitation/create", params=NAME)
        reply = await server.gets()
        assert ("result" in reply) is asked
        for request in requests:
            server.answers(request)
        await asyncio.gather(first, second)


async def test_a_call_whose_caller_cannot_be_asked_may_be_the_one_meant() -> None:
    server = Server()
    first, _ = calling(server, accepts)
    second, _ = calling(server, None, principal=b"bob")
    requests = [await server.gets(), await server.gets()]
    server.says(id=9, method="elicitation/create", params=NAME)
    assert code_of(await server.gets()) == -32603
    for request in requests:
        server.answers(request)
    await asyncio.gather(first, second)


@pytest.mark.parametrize(
    ("capabilities", "method", "params", "code"),
    [
        (b"{}", "elicitation/create", NAME, -32601),
        (b"{}", "roots/list", {}, -32601),
        (b"{}", "sampling/createMessage", {}, -32601),
        (FORM, "elicitation/create", {"mode": "url", "url": "https://a", "message": ""}, -32602),
        (b'{"elicitation":{"url":{}}}', "elicitation/create", {"message": ""}, -32602),
        (b'{"sampling":{}}', "sampling/createMessage", {"tools": []}, -32602),
        (ALL, "tasks/list", {}, -32601),
    ],
)
async def test_what_the_caller_did_not_declare_is_refused_in_its_name(
    capabilities: bytes, method: str, params: Json, code: int
) -> None:
    server = Server()
    task, _ = calling(server, accepts, capabilities=capabilities)
    request = await server.gets()
    server.says(id=7, method=method, params=params)
    reply = await server.gets()
    assert (reply["id"], code_of(reply)) == (7, code)
    server.answers(request)
    await task


async def test_without_a_call_or_without_an_asker_questions_are_refused_and_pings_answered() -> None:
    server = Server()
    server.says(id=1, method="roots/list")
    assert code_of(await server.gets()) == -32601
    server.says(id=2, method="ping")
    assert await server.gets() == {"jsonrpc": "2.0", "id": 2, "result": {}}
    task, _ = calling(server, None)
    request = await server.gets()
    server.says(id=3, method="roots/list")
    assert code_of(await server.gets()) == -32601
    server.answers(request)
    await task


async def test_a_modern_server_has_no_questions() -> None:
    server = Server("modern")
    task, _ = calling(server, accepts)
    request = await server.gets()
    assert request["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] == msgspec.json.decode(ALL)  # type: ignore[index]
    server.says(id=3, method="roots/list")
    assert code_of(await server.gets()) == -32601
    server.answers(request)
    await task


async def test_the_end_of_a_call_takes_its_questions_back() -> None:
    server, thinks = Server(), Thinks()
    task, _ = calling(server, thinks)
    request = await server.gets()
    server.says(id=5, method="roots/list")
    await thinks.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert thinks.given_up
    told = [await server.gets(), await server.gets()]
    assert told[0]["params"]["requestId"] == request["id"]  # type: ignore[index]
    assert (told[1]["id"], code_of(told[1])) == (5, -32603)


async def test_a_server_may_take_its_question_back() -> None:
    server, thinks = Server(), Thinks()
    task, _ = calling(server, thinks)
    request = await server.gets()
    server.says(id=5, method="roots/list")
    await thinks.asked.wait()
    server.says(method="notifications/cancelled", params={"requestId": 5})
    server.answers(request)
    await task
    assert thinks.given_up
    assert server.sent.empty()


async def test_nobody_answering_is_a_cancelled_elicitation() -> None:
    async def nobody(_: Question) -> Reply:
        raise Unavailable(Reason.UPSTREAM_TIMEOUT, "late")

    server = Server()
    task, _ = calling(server, nobody)
    request = await server.gets()
    server.says(id=5, method="elicitation/create", params=NAME)
    assert (await server.gets())["result"] == {"action": "cancel"}
    server.answers(request)
    await task


async def test_an_asker_that_fails_as_none_may_fails_the_call() -> None:
    async def broken(_: Question) -> Reply:
        raise ZeroDivisionError

    server = Server()
    task, _ = calling(server, broken)
    await server.gets()
    server.says(id=5, method="roots/list")
    with pytest.raises(ZeroDivisionError):
        await task


async def test_progress_finds_its_call_and_a_log_only_where_there_is_one_call() -> None:
    server = Server()
    server.duplex.log_level = "debug"
    first, first_notes = calling(server, wants_progress=True, log_level="info")
    request = await server.gets()
    server.says(method="notifications/message", params={"level": "info", "data": "alone"})
    second, second_notes = calling(server, wants_progress=True, log_level="info")
    other = await server.gets()
    server.says(method="notifications/message", params={"level": "info", "data": "whose?"})
    token = other["params"]["_meta"]["progressToken"]  # type: ignore[index]
    server.says(method="notifications/progress", params={"progressToken": token, "progress": 1})
    for one in (request, other):
        server.answers(one)
    await asyncio.gather(first, second)
    assert [msgspec.json.decode(note.params)["data"] for note in first_notes] == ["alone"]
    assert [note.method for note in second_notes] == ["notifications/progress"]


async def test_the_end_of_the_channel_fails_all_and_takes_no_more() -> None:
    server = Server()
    task, _ = calling(server, accepts)
    await server.gets()
    server.duplex.fail("it is gone")
    with pytest.raises(Unavailable) as caught:
        await task
    assert caught.value.detail == "it is gone"
    with pytest.raises(Unavailable):
        await calling(server)[0]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
METHODS = (
    "notifications/progress", "notifications/message", "notifications/cancelled", "notifications/resources/updated",
    "notifications/tools/list_changed", "notifications/subscriptions/acknowledged", "notifications/tasks",
    "elicitation/create", "sampling/createMessage", "roots/list", "ping", "tools/list",
)  # fmt: skip
MEMBERS = ("progressToken", "progress", "level", "data", "requestId", "uri", "taskId", "_meta", "mode", "notifications")
parameters = st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=4)
messages = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0"),
        "id": json_values | st.integers(0, 4),
        "method": st.sampled_from(METHODS) | json_values,
        "params": parameters | json_values,
        "result": json_values,
        "error": json_values | st.fixed_dictionaries({"code": json_values, "message": json_values}),
    },
)


@settings(max_examples=300, deadline=None)
@given(st.lists(messages | st.binary(max_size=64), max_size=6), st.sampled_from(["legacy", "modern"]))
def test_whatever_a_server_says_is_a_message_or_is_said_to_be_none(said: list[Any], era: str) -> None:
    async def hear() -> None:
        server = Server(era)
        call, _ = calling(server, accepts, wants_progress=True)
        listening = asyncio.ensure_future(
            duplex_watch.watch(server.duplex, Interest(resources=("a",), tasks=("t",)), lambda _: None, lambda: None)
        )
        await asyncio.sleep(0)
        for one in said:
            try:
                server.duplex.heard(one if isinstance(one, bytes) else json.dumps(one).encode())
            except NotMcpError:
                continue
        await asyncio.sleep(0)
        call.cancel()
        listening.cancel()
        for ended in await asyncio.gather(call, listening, return_exceptions=True):
            assert isinstance(ended, Raw | Unavailable | asyncio.CancelledError)

    asyncio.run(hear())


async def test_an_answer_nested_without_end_fails_its_call_and_no_other() -> None:
    server = Server()
    (deep, _), (sound, _) = calling(server), calling(server)
    first, second = await server.gets(), await server.gets()
    server.duplex.heard(b'{"jsonrpc":"2.0","id":%d,"result":{"a":%b}}' % (first["id"], b"[" * 2000 + b"]" * 2000))
    with pytest.raises(Unavailable) as caught:
        await deep
    assert "nested too deep" in caught.value.detail
    server.answers(second)
    assert (await sound).result


async def test_what_is_no_message_is_said_to_be_none() -> None:
    server = Server()
    for garbage in (b"hello", b"[]", b'{"id":1,"method":"roots/list","params":[', b"\xff"):
        with pytest.raises(NotMcpError):
            server.duplex.heard(garbage)


async def listening(
    server: Server, interest: Interest
) -> "tuple[asyncio.Task[None], list[Notification], asyncio.Event]":
    notes: list[Notification] = []
    began = asyncio.Event()
    task = asyncio.ensure_future(duplex_watch.watch(server.duplex, interest, notes.append, began.set))
    return task, notes, began


async def ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_listening_to_a_modern_server_keeps_to_what_it_acknowledged() -> None:
    server = Server("modern")
    interest = Interest(resources=("a://1", "a://2"), tasks=("t",))
    task, notes, began = await listening(server, interest)
    request = await server.gets()
    key = request["id"]
    assert request["params"]["notifications"] == {  # type: ignore[index]
        "toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True,
        "resourceSubscriptions": ["a://1", "a://2"], "taskIds": ["t"],
    }  # fmt: skip
    meta = {"io.modelcontextprotocol/subscriptionId": key}
    honoured = {"toolsListChanged": True, "resourceSubscriptions": ["a://2"]}
    server.says(method="notifications/subscriptions/acknowledged", params={"_meta": meta, "notifications": honoured})
    async with asyncio.timeout(5):
        await began.wait()
    server.says(method="notifications/tools/list_changed", params={"_meta": meta})
    server.says(method="notifications/prompts/list_changed", params={"_meta": meta})
    server.says(method="notifications/resources/updated", params={"_meta": meta, "uri": "a://1"})
    server.says(method="notifications/resources/updated", params={"_meta": {**meta, "x": 1}, "uri": "a://2/part"})
    server.says(method="notifications/tools/list_changed", params={"_meta": {**meta, next(iter(meta)): 999}})
    assert [(note.method, msgspec.json.decode(note.params)) for note in notes] == [
        ("notifications/tools/list_changed", {}),
        ("notifications/resources/updated", {"_meta": {"x": 1}, "uri": "a://2/part"}),
    ]
    await ended(task)
    assert (await server.gets())["params"]["requestId"] == key  # type: ignore[index]


async def test_a_modern_server_that_ends_or_refuses_a_subscription_is_lost() -> None:
    for answer in ({"result": {"resultType": "complete"}}, {"error": {"code": -32601, "message": "no"}}):
        server = Server("modern")
        task, _, began = await listening(server, Interest())
        request = await server.gets()
        server.says(id=request["id"], **answer)
        with pytest.raises(Unavailable):
            await task
        assert not began.is_set()
        assert not server.duplex.ears


async def test_listening_to_a_legacy_server_subscribes_and_leaves_off_what_nobody_else_wants() -> None:
    server = Server()
    one, notes, began = await listening(server, Interest(lists=False, resources=("a://1",)))
    server.answers(await server.gets())
    two, others, began_too = await listening(server, Interest(resources=("a://1", "a://no")))
    server.answers(await server.gets())
    refused = await server.gets()
    server.says(id=refused["id"], error={"code": -32602, "message": "unknown"})
    async with asyncio.timeout(5):
        await began.wait()
        await began_too.wait()
    server.says(method="notifications/resources/updated", params={"uri": "a://1"})
    server.says(method="notifications/resources/updated", params={"uri": "a://no"})
    server.says(method="notifications/tools/list_changed")
    assert [note.method for note in notes] == ["notifications/resources/updated"]
    assert [note.method for note in others] == ["notifications/resources/updated", "notifications/tools/list_changed"]
    await ended(one)
    assert server.sent.empty()
    await ended(two)
    left = await server.gets()
    assert (left["method"], left["params"]) == ("resources/unsubscribe", {"uri": "a://1"})


async def test_the_end_of_the_channel_ends_listening() -> None:
    server = Server()
    task, _, began = await listening(server, Interest())
    async with asyncio.timeout(5):
        await began.wait()
    server.duplex.fail("gone")
    with pytest.raises(Unavailable):
        await task
