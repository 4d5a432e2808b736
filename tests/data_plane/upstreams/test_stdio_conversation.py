"""What goes on between a program and its callers besides calls: questions, news, and whose they are."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from core.call import Ask, Era, Interest, Notification, Outgoing, Question, Raw, Reply, Route
from core.errors import Reason, Unavailable
from data_plane.remote import RemoteBackend
from data_plane.supervisor.stdio import StdioLimits, StdioServers
from tests.harness.across import across
from tests.harness.upstream_route import as_program, route_to

PROGRAM = str(Path(__file__).parents[3] / "tests/harness/upstream_talkative.py")
ALL = b'{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}'
ELICIT = {"method": "elicitation/create", "params": {"message": "who?", "requestedSchema": {"type": "object"}}}
ROOTS = {"method": "roots/list"}
LISTS = Interest()
CHANGED = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"


class Reached:
    """`StdioServers`, called and listened to in the supervisor's own process or by a worker."""

    def __init__(self, servers: StdioServers, backend: StdioServers | RemoteBackend) -> None:
        self.call, self.watch = backend.call, backend.watch
        self.children, self.retire = servers.children, servers.retire


@pytest.fixture(params=["in the supervisor", "across the channel"])
async def servers(request: pytest.FixtureRequest) -> AsyncIterator[Reached]:
    servers = StdioServers(StdioLimits(discover_s=5))
    if request.param == "in the supervisor":
        yield Reached(servers, servers)
    else:
        async with across(servers) as backend:
            yield Reached(servers, backend)
    await servers.close()


def to(tool: str, era: Era = "legacy", **changes: float) -> Route:
    route = route_to(as_program(sys.executable, PROGRAM, era), tool, era=era)
    return msgspec.structs.replace(route, **{"deadline_s": 20.0, **changes})


def outgoing(arguments: object = None, principal: bytes = b"ann", capabilities: bytes = ALL) -> Outgoing:
    encoded = msgspec.json.encode(arguments or {})
    return Outgoing(arguments=encoded, capabilities=capabilities, principal=principal)


async def call(
    servers: Reached, tool: str, sent: Outgoing, ask: Ask | None = None, era: Era = "legacy", **changes: float
) -> object:
    raw = await servers.call(to(tool, era, **changes), sent, lambda _: None, ask)
    return json.loads(json.loads(raw.result)["content"][0]["text"])


async def seen(servers: Reached, what: str, era: Era = "legacy") -> object:
    told = await call(servers, "seen", outgoing(principal=b""), era=era)
    assert isinstance(told, dict)
    return told[what]


class Client:
    """Answers questions with what it is, and remembers them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[Question] = []

    async def __call__(self, question: Question) -> Reply:
        self.asked.append(question)
        return Reply(result=msgspec.json.encode({"by": self.name}))


class Silent:
    """Never answers."""

    def __init__(self) -> None:
        self.asked, self.gone = asyncio.Event(), asyncio.Event()

    async def __call__(self, question: Question) -> Reply:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.gone.set()
        raise AssertionError


async def held(servers: Reached, sent: Outgoing, ask: Ask | None) -> "asyncio.Future[object]":
    """A call under way at the program."""
    before = servers.children()[0].in_flight if servers.children() else 0
    calling = asyncio.ensure_future(call(servers, "hold", sent, ask))
    async with asyncio.timeout(20):
        while not servers.children() or servers.children()[0].in_flight == before:
            await asyncio.sleep(0.01)
    return calling


# Any method.


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("method", ["prompts/get", "resources/read", "completion/complete", "tasks/get"])
async def test_any_method_passes_with_its_members_as_they_came(servers: Reached, era: Era, method: str) -> None:
    sent = Outgoing(arguments=b"{}", method=method, members=b'"name":"p","arguments":{"a": 1.50},')
    raw = await servers.call(to("", era), sent, lambda _: None)
    got = json.loads(raw.result)
    meta = got["params"].pop("_meta", None)
    assert got == {"method": method, "params": {"name": "p", "arguments": {"a": 1.5}}}
    assert (meta is not None) == (era == "modern")


async def test_a_modern_programs_need_for_input_is_its_result(servers: Reached) -> None:
    raw = await servers.call(to("input", "modern"), outgoing({"k": ROOTS}), lambda _: None)
    assert json.loads(raw.result) == {
        "resultType": "input_required",
        "requestState": "s",
        "inputRequests": {"k": ROOTS},
    }


# Whom a question is put to.


async def test_a_program_is_told_what_callers_can_be_asked(servers: Reached) -> None:
    assert await seen(servers, "declared") == {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}


@pytest.mark.parametrize(
    "question", [ELICIT, {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}, ROOTS]
)
async def test_a_question_reaches_the_caller_and_its_answer_the_program(
    servers: Reached, question: dict[str, object]
) -> None:
    ann = Client("ann")
    assert await call(servers, "ask", outgoing(question), ann) == {"by": "ann"}
    assert [one.method for one in ann.asked] == [question["method"]]
    assert [json.loads(one.params) for one in ann.asked] == [question.get("params", {})]


@pytest.mark.parametrize(
    ("capabilities", "question", "code"),
    [
        (b"{}", ELICIT, -32601),
        (b'{"sampling":{}}', ROOTS, -32601),
        (b'{"elicitation":{}}', {"method": "elicitation/create", "params": {"mode": "url", "url": "u"}}, -32602),
    ],
)
async def test_what_the_caller_did_not_declare_it_is_not_asked(
    servers: Reached, capabilities: bytes, question: object, code: int
) -> None:
    ann = Client("ann")
    refused = await call(servers, "ask", outgoing(question, capabilities=capabilities), ann)
    assert isinstance(refused, dict)
    assert refused["code"] == code
    assert ann.asked == []


async def test_a_caller_that_cannot_be_reached_is_not_asked(servers: Reached) -> None:
    refused = await call(servers, "ask", outgoing(ELICIT), None)
    assert isinstance(refused, dict)
    assert refused["code"] == -32601


async def test_a_question_while_another_principals_call_is_under_way_is_refused(servers: Reached) -> None:
    ann, bob = Client("ann"), Client("bob")
    bobs = await held(servers, outgoing(principal=b"bob"), bob)
    refused = await call(servers, "ask", outgoing(ELICIT), ann)
    assert isinstance(refused, dict)
    assert refused["code"] == -32603
    assert (ann.asked, bob.asked) == ([], [])
    await call(servers, "release", outgoing())
    await bobs


async def test_a_question_while_the_same_principals_calls_are_under_way_is_put_to_one_of_them(
    servers: Reached,
) -> None:
    other = await held(servers, outgoing(), None)
    ann = Client("ann")
    assert await call(servers, "ask", outgoing(ELICIT), ann) == {"by": "ann"}
    await call(servers, "release", outgoing())
    await other


async def test_callers_nobody_vouches_for_are_never_taken_for_one(servers: Reached) -> None:
    ann, other = Client("ann"), Client("other")
    waiting = await held(servers, outgoing(principal=b""), other)
    refused = await call(servers, "ask", outgoing(ELICIT, principal=b""), ann)
    assert isinstance(refused, dict)
    assert refused["code"] == -32603
    assert (ann.asked, other.asked) == ([], [])
    await call(servers, "release", outgoing())
    await waiting


async def test_a_calls_time_does_not_run_while_its_caller_thinks(servers: Reached) -> None:
    await seen(servers, "methods")
    released = asyncio.Event()

    async def slow(question: Question) -> Reply:
        asyncio.get_running_loop().call_later(0.6, released.set)
        await released.wait()
        return Reply(result=b'{"action":"accept"}')

    assert await call(servers, "ask", outgoing(ELICIT), slow, deadline_s=0.4) == {"action": "accept"}


async def test_a_caller_that_goes_away_is_asked_no_more_and_the_program_is_told(servers: Reached) -> None:
    silent = Silent()
    calling = asyncio.ensure_future(call(servers, "ask", outgoing(ELICIT), silent))
    async with asyncio.timeout(20):
        await silent.asked.wait()
        calling.cancel()
        await silent.gone.wait()
    assert len(await seen(servers, "cancelled")) == 1  # type: ignore[arg-type]


# News.


class News:
    def __init__(self) -> None:
        self.heard: list[Notification] = []
        self.began = asyncio.Event()
        self._more = asyncio.Event()

    def __call__(self, note: Notification) -> None:
        self.heard.append(note)
        self._more.set()

    async def has(self, *methods: str) -> None:
        async with asyncio.timeout(20):
            while len(self.heard) < len(methods):
                self._more.clear()
                await self._more.wait()
        assert [note.method for note in self.heard] == list(methods)


async def listen(servers: Reached, interest: Interest, era: Era) -> tuple[News, "asyncio.Task[None]"]:
    news = News()
    watching = asyncio.create_task(servers.watch(to("", era), interest, news, began=news.began.set))
    began = asyncio.create_task(news.began.wait())
    await asyncio.wait({watching, began}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    if watching.done():
        began.cancel()
        await watching
    return news, watching


async def tell(servers: Reached, era: Era, method: str, **params: object) -> None:
    await call(servers, "tell", outgoing({"method": method, "params": params}), era=era)


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_changed_list_and_an_updated_resource_are_told_to_who_listens_for_them(
    servers: Reached, era: Era
) -> None:
    lists, watching_lists = await listen(servers, LISTS, era)
    files, watching_files = await listen(servers, Interest(lists=False, resources=("file:///a",)), era)
    await tell(servers, era, CHANGED)
    await tell(servers, era, UPDATED, uri="file:///other")
    await tell(servers, era, UPDATED, uri="file:///a")
    await files.has(UPDATED)
    await lists.has(CHANGED)
    assert json.loads(files.heard[0].params) == {"uri": "file:///a"}
    for watching in (watching_lists, watching_files):
        watching.cancel()
    await asyncio.wait({watching_lists, watching_files})


async def test_a_resource_is_subscribed_to_once_for_all_and_let_go_with_the_last(servers: Reached) -> None:
    interest = Interest(lists=False, resources=("file:///a",))
    _, one = await listen(servers, interest, "legacy")
    _, other = await listen(servers, interest, "legacy")
    assert set(await seen(servers, "subscriptions")) == {"file:///a"}  # type: ignore[call-overload]
    one.cancel()
    await asyncio.wait({one})
    assert await seen(servers, "subscriptions") != []
    other.cancel()
    await asyncio.wait({other})
    methods = await seen(servers, "methods")
    assert isinstance(methods, list)
    assert methods.count("resources/unsubscribe") == 1


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_watch_ends_with_its_program(servers: Reached, era: Era) -> None:
    _, watching = await listen(servers, LISTS, era)
    servers.retire("acme", "upstream")
    with pytest.raises(Unavailable) as caught:
        async with asyncio.timeout(20):
            await watching
    assert caught.value.reason is Reason.UPSTREAM_UNAVAILABLE


async def test_a_modern_program_may_end_a_subscription(servers: Reached) -> None:
    _, watching = await listen(servers, LISTS, "modern")
    await call(servers, "end", outgoing(), era="modern")
    with pytest.raises(Unavailable, match="ended the subscription"):
        async with asyncio.timeout(20):
            await watching


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_program_that_is_listened_to_is_not_idle_and_makes_room_all_the_same(era: Era) -> None:
    running = StdioServers(StdioLimits(discover_s=5, idle_s=0.05, max_children=1, evict_s=0.0))
    servers = Reached(running, running)
    try:
        _, watching = await listen(servers, LISTS, era)
        pid = servers.children()[0].pid
        assert await seen(servers, "methods", era) != []
        async with asyncio.timeout(20):
            await asyncio.sleep(0.3)  # Several sweeps for idle ones.
        assert servers.children()[0].pid == pid
        assert servers.children()[0].in_flight == 0
        other = msgspec.structs.replace(to("seen", era), tenant="globex")
        raw: Raw = await servers.call(other, outgoing(), lambda _: None)
        assert raw.result
        with pytest.raises(Unavailable):
            await watching
        with pytest.raises(Unavailable) as caught:
            await servers.watch(to("", era), LISTS, lambda _: None, began=lambda: None)
        assert caught.value.reason is Reason.OVERLOADED
        assert [child.tenant for child in servers.children()] == ["globex"]
    finally:
        await running.close()
