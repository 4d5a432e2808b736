"""Every way there is to a server on the network, in each era it has: what a call may do, and what may happen to it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from core.call import Ask, Era, Interest, Notification, Outgoing, Question, Raw, Reply, Route
from core.errors import Unavailable
from core.server import HttpTransport, SseTransport, Transport, WebSocketTransport
from data_plane.upstreams import sse_channel, websocket
from data_plane.upstreams.channels import ChannelBackend
from data_plane.upstreams.mcp_http import HttpBackend
from data_plane.upstreams.probe import observe
from tests.harness.upstream_matrix import Matrix, serving
from tests.harness.upstream_route import route_to

WAYS: tuple[tuple[Any, Era], ...] = (
    ("http", "legacy"),
    ("http", "modern"),
    ("sse", "legacy"),
    ("websocket", "legacy"),
    ("websocket", "modern"),
)
TRANSPORTS: dict[str, Any] = {"http": HttpTransport, "sse": SseTransport, "websocket": WebSocketTransport}
ALL = b'{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{"listChanged":true}}'
ANSWERS: dict[str, Any] = {
    "elicitation/create": {"action": "accept", "content": {"name": "Ada", "age": 36}},
    "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "m"},
    "roots/list": {"roots": [{"uri": "file:///work"}]},
}


def backend_of(way: str) -> HttpBackend | ChannelBackend:
    if way == "http":
        return HttpBackend()
    if way == "sse":
        return ChannelBackend(SseTransport, sse_channel.connect, modern=False)
    return ChannelBackend(WebSocketTransport, websocket.connect, modern=True)


class Way:
    """A running server, and a backend that reaches it one way in one era."""

    def __init__(self, way: str, era: Era, matrix: Matrix, backend: HttpBackend | ChannelBackend) -> None:
        self.name = way
        self.era = era
        self.matrix = matrix
        self.backend = backend
        self.transport: Transport = TRANSPORTS[way](url=matrix.url, allow_private=True)

    def route(self, about: str = "echo", **changes: Any) -> Route:
        return route_to(self.transport, about, **{"era": self.era, "deadline_s": 10.0, **changes})

    async def raw(self, about: str, outgoing: Outgoing, ask: Ask | None = None, **changes: Any) -> Raw:
        return await self.backend.call(self.route(about, **changes), outgoing, lambda _: None, ask)

    async def tool(self, tool: str, ask: Ask | None = None, /, **arguments: Any) -> str:
        """Plays the client of a modern server's rounds too."""
        members = b""
        for _ in range(5):
            sent = Outgoing(arguments=json.dumps(arguments).encode(), capabilities=ALL, members=members)
            raw = await self.raw(tool, sent, ask)
            result = json.loads(raw.result or raw.error)
            if result.get("resultType") != "input_required":
                return str(result["content"][0]["text"]) if "content" in result else json.dumps(result)
            assert ask is not None
            members = await self._round(result, ask)
        raise AssertionError("it keeps asking")

    async def _round(self, result: dict[str, Any], ask: Ask) -> bytes:
        asked = {
            key: Question(one["method"], json.dumps(one.get("params", {})).encode())
            for key, one in result["inputRequests"].items()
        }
        replies = {key: json.loads((await ask(question)).result) for key, question in asked.items()}
        state = result.get("requestState")
        members = b'"inputResponses":%b,' % json.dumps(replies).encode()
        return members + (b'"requestState":%b,' % json.dumps(state).encode() if state is not None else b"")


@asynccontextmanager
async def opened(way: str, era: Era) -> AsyncIterator[Way]:
    backend = backend_of(way)
    try:
        async with serving(era, way) as matrix:  # type: ignore[arg-type]
            try:
                yield Way(way, era, matrix, backend)
            finally:
                await backend.close()
    finally:
        await backend.close()


@pytest.fixture(params=WAYS, ids="-".join)
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    async with opened(*request.param) as one:
        yield one


class Client:
    """Answers every question, and remembers them."""

    def __init__(self) -> None:
        self.questions: list[Question] = []

    async def __call__(self, question: Question) -> Reply:
        self.questions.append(question)
        return Reply(result=msgspec.json.encode(ANSWERS[question.method]))


async def test_tools_prompts_resources_and_completion(way: Way) -> None:
    assert await way.tool("echo", text="hello") == "hello"
    prompt = Outgoing(arguments=b"{}", method="prompts/get", members=b'"name":"about","arguments":{"city":"bern"},')
    assert b"tell of bern" in (await way.raw("about", prompt)).result
    read = Outgoing(arguments=b"{}", method="resources/read", members=b'"uri":"matrix://text",')
    assert b"some text" in (await way.raw("matrix://text", read)).result
    complete = Outgoing(
        arguments=b"{}",
        method="completion/complete",
        members=b'"ref":{"type":"ref/prompt","name":"about"},"argument":{"name":"city","value":"be"},',
    )
    completed = json.loads((await way.raw("", complete)).result)
    assert completed["completion"]["values"] == ["berlin", "bern"]


async def test_what_is_not_there_is_the_servers_own_error(way: Way) -> None:
    read = Outgoing(arguments=b"{}", method="resources/read", members=b'"uri":"matrix://none",')
    raw = await way.raw("matrix://none", read)
    assert json.loads(raw.error)["code"] in (-32002, -32602)
    error = json.loads((await way.raw("errors", Outgoing(arguments=b'{"code":-32050}'))).error)
    assert (error["code"], error["data"]) == (-32050, {"detail": "kept"})


async def test_progress_and_logs_come_before_the_answer(way: Way) -> None:
    notes: list[Notification] = []
    for tool in ("steps", "logs"):
        sent = Outgoing(arguments=b'{"steps":3}', wants_progress=True, log_level="warning")
        raw = await way.backend.call(way.route(tool), sent, notes.append)
        assert raw.result
    progress = [json.loads(n.params)["progress"] for n in notes if n.method == "notifications/progress"]
    levels = [json.loads(n.params)["level"] for n in notes if n.method == "notifications/message"]
    assert progress == [1, 2, 3]
    assert levels == ["warning", "error"]


async def test_cancelling_the_caller_cancels_at_the_server(way: Way) -> None:
    call = asyncio.ensure_future(way.raw("slow", Outgoing(arguments=b'{"name":"a"}')))
    assert await way.tool("until_started", name="a") == "started"
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await way.tool("until_cancelled", name="a") == "cancelled"


@pytest.mark.parametrize(
    ("tool", "methods"),
    [
        ("ask_form", ["elicitation/create"]),
        ("ask_url", ["elicitation/create"]),
        ("ask_sampling", ["sampling/createMessage"]),
        ("ask_roots", ["roots/list"]),
        ("ask_many", ["elicitation/create", "roots/list", "sampling/createMessage"]),
        ("ask_twice", ["elicitation/create", "elicitation/create"]),
    ],
)
async def test_a_server_asks_and_is_answered(way: Way, tool: str, methods: list[str]) -> None:
    client = Client()
    answered = json.loads(await way.tool(tool, client))
    assert sorted(question.method for question in client.questions) == methods
    for key, answer in {"who": "Ada", "sample": "Paris", "roots": "file:///work"}.items():
        if key in answered:
            assert answer in json.dumps(answered[key])


async def test_prompts_and_resources_ask_too(way: Way) -> None:
    if way.era == "modern":
        return  # There it is a result like any other.
    client = Client()
    prompt = Outgoing(arguments=b"{}", method="prompts/get", members=b'"name":"asks",', capabilities=ALL)
    assert b"Ada" in (await way.raw("asks", prompt, client)).result
    read = Outgoing(arguments=b"{}", method="resources/read", members=b'"uri":"matrix://asks",', capabilities=ALL)
    assert b"Ada" in (await way.raw("matrix://asks", read, client)).result
    assert len(client.questions) == 2


async def test_the_server_is_told_what_this_caller_can_do(way: Way) -> None:
    async def told(capabilities: bytes, ask: Ask | None) -> Any:
        raw = await way.raw("whoami", Outgoing(arguments=b"{}", capabilities=capabilities), ask)
        found = json.loads(json.loads(raw.result)["content"][0]["text"])["capabilities"]
        return {key: value for key, value in found.items() if value is not None}

    assert await told(b"{}", Client()) == {}
    if way.era == "legacy":
        assert set(await told(ALL, Client())) == {"elicitation", "sampling", "roots"}
        assert await told(ALL, None) == {}
    else:
        assert set(await told(ALL, None)) == {"elicitation", "sampling", "roots"}


async def test_a_question_the_caller_did_not_declare_is_refused(way: Way) -> None:
    if way.era == "modern":
        return  # A modern server is told with each request, and answers with an error of its own.
    client = Client()
    raw = await way.raw("ask_form", Outgoing(arguments=b"{}", capabilities=b'{"roots":{}}'), client)
    assert raw.error or json.loads(raw.result)["isError"] is True
    assert client.questions == []


async def test_a_page_to_visit_is_a_question_to_a_modern_caller_and_an_error_to_a_legacy_one(way: Way) -> None:
    if way.era == "modern":
        return
    for takes, expected in ((True, "result"), (False, "error")):
        sent = Outgoing(arguments=b"{}", capabilities=ALL, takes_input_required=takes)
        raw = await way.raw("needs_page", sent, Client())
        assert getattr(raw, expected)
    asked = json.loads((await way.raw("needs_page", msgspec.structs.replace(sent, takes_input_required=True))).result)
    assert asked["resultType"] == "input_required"
    [request] = asked["inputRequests"].values()
    assert request["method"] == "elicitation/create"
    assert request["params"]["url"] == "https://example.com/first"
    retry = Outgoing(
        arguments=b'{"connected":true}', members=b'"inputResponses":{"url-1":{"action":"accept"}},', capabilities=ALL
    )
    assert (await way.raw("needs_page", retry)).result


class Listening:
    def __init__(self, way: Way, interest: Interest) -> None:
        self.notes: asyncio.Queue[Notification] = asyncio.Queue()
        self.began = asyncio.Event()
        self.task = asyncio.ensure_future(
            way.backend.watch(way.route(""), interest, self.notes.put_nowait, began=self.began.set)
        )

    async def begun(self) -> None:
        waiting = asyncio.ensure_future(self.began.wait())
        async with asyncio.timeout(5):
            await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.task.done():
            await self.task

    async def hears(self) -> Notification:
        async with asyncio.timeout(5):
            return await self.notes.get()

    async def stop(self) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task


async def test_changes_of_lists_and_resources_are_told(way: Way) -> None:
    listening = Listening(way, Interest(resources=("matrix://watched",)))
    await listening.begun()
    await way.tool("add_tool", name="fresh")
    assert (await listening.hears()).method == "notifications/tools/list_changed"
    await way.tool("touch", uri="matrix://watched")
    updated = await listening.hears()
    assert updated.method == "notifications/resources/updated"
    assert json.loads(updated.params)["uri"] == "matrix://watched"
    assert b"subscriptionId" not in updated.params
    await listening.stop()
    assert await way.tool("echo", text="still there") == "still there"


async def test_only_what_was_asked_for_is_told(way: Way) -> None:
    listening = Listening(way, Interest(lists=False, resources=("matrix://watched",)))
    await listening.begun()
    await way.tool("add_tool", name="fresh")
    await way.tool("touch", uri="matrix://watched")
    assert (await listening.hears()).method == "notifications/resources/updated"
    await listening.stop()


async def test_a_server_that_goes_away_ends_listening(way: Way) -> None:
    listening = Listening(way, Interest())
    await listening.begun()
    way.backend.retire("acme", "upstream")
    with pytest.raises(Unavailable):
        async with asyncio.timeout(5):
            await listening.task


async def test_looking_at_it_shows_everything(way: Way) -> None:
    seen = await observe(way.route("", era=None), way.backend)
    assert seen.error == ""
    assert seen.era == way.era
    assert {"echo", "ask_many"} <= {tool.name for tool in seen.tools}
    assert [prompt.name for prompt in seen.prompts]


async def test_five_hundred_calls_at_once_each_get_their_own_answer(way: Way) -> None:
    texts = [f"call {n}" for n in range(500)]
    tasks_before = len(asyncio.all_tasks())
    assert await asyncio.gather(*(way.tool("echo", text=text) for text in texts)) == texts
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= tasks_before + 600


async def test_large_answers_pass_and_beyond_the_cap_they_do_not(way: Way) -> None:
    sent = Outgoing(arguments=b'{"size":300000}')
    with pytest.raises(Unavailable, match="exceeds 200000"):
        await way.raw("big", sent, max_result_bytes=200_000)
    assert len((await way.raw("big", sent, max_result_bytes=2_000_000)).result) > 300_000
    assert await way.tool("echo", text="next") == "next"
