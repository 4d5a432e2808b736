"""Questions of servers, carried to callers of the other era."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from adapters.memory.bus import MemoryBus
from core.call import Ask, Clean, Inbound, Notification, Notify, Outgoing, Question, Raw, Reply, Route
from core.errors import Refused, Unavailable
from core.mcp.tickets import Round
from core.server import HttpTransport
from core.snapshot import Backend, Offer
from data_plane.meter import Meter, Recording
from data_plane.parked import Parked
from data_plane.stages import execute
from tests.data_plane.stages.builders import inbound, permit

WHO = Question("elicitation/create", b'{"message":"who?","requestedSchema":{"type":"object"}}')
ROOTS = Question("roots/list")
ELICITS = b'{"elicitation":{}}'

Behaviour = Callable[[Outgoing, Ask | None], Awaitable[Raw]]


class Server:
    """A backend that does what a test says, and remembers how it was called."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.heard: list[Outgoing] = []

    async def call(self, route: Route, outgoing: Outgoing, notify: Notify, ask: Ask | None = None) -> Raw:
        self.heard.append(outgoing)
        return await self._behaviour(outgoing, ask)


class Nowhere:
    """Keeps no records."""

    def append(self, record: bytes, *, required: bool = False) -> bool:
        return True

    def has_room(self) -> bool:
        return True


@pytest.fixture
async def parked() -> AsyncIterator[Parked]:
    kept = Parked(MemoryBus())
    yield kept
    await kept.close()


def request(era: str, capabilities: bytes = b"{}", method: str = "tools/call") -> Inbound:
    made = inbound(method=method)
    made.era, made.capabilities = era, capabilities  # type: ignore[assignment]
    return made


async def run(
    server: Server,
    asked: Inbound,
    upstream: str,
    parked: Parked,
    *,
    ask: Ask | None = None,
    before: Round | None = None,
    responses: bytes = b"",
    offers: tuple[Offer, ...] = ("completions",),
) -> Raw:
    backend = Backend(
        server="files",
        transport=HttpTransport(url="http://x"),
        era=upstream,  # type: ignore[arg-type]
        offers=offers,
    )
    route = Route(tenant="acme", backend=backend, tool="file:///a" if asked.method == "resources/read" else "echo")
    recording = Recording(Meter(Nowhere(), "node"), asked)
    clean = Clean(arguments=asked.arguments, responses=responses)
    return await execute.run(
        asked, permit(), route, clean, before, {HttpTransport: server}, parked, _silent, ask, recording
    )


def _silent(_: Notification) -> None:
    """Nobody listens."""


async def answering(question: Question) -> Reply:
    return Reply(result=b'{"action":"accept","content":{"name":"ann"}}')


# === a modern caller, a server of the handshake era ===


async def greets(_: Outgoing, ask: Ask | None) -> Raw:
    assert ask is not None
    reply = await ask(WHO)
    return Raw(result=b'{"content":[],"said":%b}' % reply.result)


async def test_a_question_becomes_a_round_and_its_answer_the_result(parked: Parked) -> None:
    server = Server(greets)
    first = await run(server, request("modern", ELICITS), "legacy", parked)
    assert first.asks
    assert first.parked
    (key,) = json.loads(first.result)["inputRequests"]
    before = Round(server="files", arguments_digest=b"", parked=first.parked)
    responses = msgspec.json.encode({key: {"action": "accept"}})
    second = await run(server, request("modern", ELICITS), "legacy", parked, before=before, responses=responses)
    assert json.loads(second.result)["said"] == {"action": "accept"}
    assert len(server.heard) == 1
    assert server.heard[0].capabilities == ELICITS


async def test_a_retry_of_a_call_that_is_gone_is_told_to_begin_again(parked: Parked) -> None:
    before = Round(server="files", arguments_digest=b"", parked="nobody")
    with pytest.raises(Refused, match="request state"):
        await run(Server(greets), request("modern", ELICITS), "legacy", parked, before=before)


async def test_a_caller_that_can_be_asked_nothing_is_not_waited_for(parked: Parked) -> None:
    async def plain(outgoing: Outgoing, ask: Ask | None) -> Raw:
        assert ask is None
        return Raw(result=b'{"content":[]}')

    server = Server(plain)
    assert (await run(server, request("modern"), "legacy", parked)).result == b'{"content":[]}'
    assert server.heard[0].capabilities == b"{}"


# === a modern caller, a modern server ===


async def test_a_modern_servers_state_is_put_aside_and_brought_back(parked: Parked) -> None:
    async def asks(outgoing: Outgoing, _: Ask | None) -> Raw:
        return Raw(
            result=b'{"resultType":"input_required","inputRequests":{"r":{"method":"roots/list"}},"requestState":"st","x":1}'
        )

    server = Server(asks)
    raw = await run(server, request("modern", b'{"roots":{}}'), "modern", parked)
    assert (raw.asks, raw.state, raw.parked) == (True, "st", "")
    assert json.loads(raw.result) == {
        "resultType": "input_required",
        "inputRequests": {"r": {"method": "roots/list"}},
        "x": 1,
    }
    before = Round(server="files", arguments_digest=b"", state="st")
    await run(server, request("modern"), "modern", parked, before=before, responses=b'{"r":{"roots":[]}}')
    members = json.loads(b"{%b}" % server.heard[1].members.rstrip(b","))
    assert members == {"inputResponses": {"r": {"roots": []}}, "requestState": "st"}


@pytest.mark.parametrize(
    "bad", [b'{"resultType":"input_required"}', b'{"resultType":"input_required","inputRequests":7}']
)
async def test_a_round_that_is_no_mcp_is_the_servers_failure(parked: Parked, bad: bytes) -> None:
    async def broken(outgoing: Outgoing, _: Ask | None) -> Raw:
        return Raw(result=bad)

    with pytest.raises(Unavailable):
        await run(Server(broken), request("modern"), "modern", parked)


# === a caller of the handshake era, a modern server ===


async def test_a_legacy_caller_is_led_through_the_rounds(parked: Parked) -> None:
    async def twice(outgoing: Outgoing, _: Ask | None) -> Raw:
        if b'"one"' in outgoing.members:
            return Raw(
                result=b'{"resultType":"input_required","inputRequests":{"two":{"method":"roots/list"}},"requestState":"2"}'
            )
        if b'"two"' in outgoing.members:
            return Raw(result=b'{"resultType":"complete","content":[]}')
        return Raw(
            result=b'{"resultType":"input_required","inputRequests":{"one":{"method":"elicitation/create","params":{"message":"m"}}}}'
        )

    asked: list[str] = []

    async def ask(question: Question) -> Reply:
        asked.append(question.method)
        return Reply(result=b"{}")

    server = Server(twice)
    capabilities = b'{"elicitation":{},"roots":{"listChanged":true},"tasks":{}}'
    raw = await run(server, request("legacy", capabilities), "modern", parked, ask=ask)
    assert raw.result == b'{"resultType":"complete","content":[]}'
    assert asked == ["elicitation/create", "roots/list"]
    assert json.loads(server.heard[0].capabilities) == {"elicitation": {}, "roots": {"listChanged": True}}
    assert json.loads(b"{%b}" % server.heard[2].members.rstrip(b",")) == {
        "inputResponses": {"two": {}},
        "requestState": "2",
    }


async def test_a_client_that_refuses_a_question_cancels_it_where_there_is_a_word_for_that(parked: Parked) -> None:
    async def until_told(outgoing: Outgoing, _: Ask | None) -> Raw:
        if outgoing.members:
            return Raw(result=b'{"content":[],"heard":%b}' % msgspec.json.encode(outgoing.members.decode()))
        return Raw(result=b'{"resultType":"input_required","inputRequests":{"q":%b}}' % method)

    async def refusing(_: Question) -> Reply:
        return Reply(error=b'{"code":-1,"message":"no"}')

    method = b'{"method":"elicitation/create","params":{}}'
    told = await run(Server(until_told), request("legacy", ELICITS), "modern", parked, ask=refusing)
    assert b"cancel" in told.result
    method = b'{"method":"roots/list"}'
    told = await run(Server(until_told), request("legacy", b'{"roots":{}}'), "modern", parked, ask=refusing)
    assert json.loads(told.result)["isError"]


async def test_a_server_that_asks_without_end_is_stopped(parked: Parked) -> None:
    async def endless(outgoing: Outgoing, _: Ask | None) -> Raw:
        return Raw(result=b'{"resultType":"input_required","requestState":"again"}')

    server = Server(endless)
    with pytest.raises(Unavailable, match="rounds"):
        await run(server, request("legacy", ELICITS), "modern", parked, ask=answering)
    assert len(server.heard) == execute.MOST_ROUNDS + 1


async def test_a_question_the_client_did_not_declare_is_not_put(parked: Parked) -> None:
    async def asks(outgoing: Outgoing, _: Ask | None) -> Raw:
        return Raw(result=b'{"resultType":"input_required","inputRequests":{"q":{"method":"roots/list"}}}')

    raw = await run(Server(asks), request("legacy", ELICITS), "modern", parked, ask=answering)
    assert json.loads(raw.result)["isError"]
    for method in ("prompts/get", "resources/read"):
        with pytest.raises(Unavailable, match="roots/list"):
            await run(Server(asks), request("legacy", ELICITS, method), "modern", parked, ask=answering)


# === what each method sends ===


@pytest.mark.parametrize(
    ("method", "arguments", "refers_to", "members"),
    [
        ("prompts/get", b'{"a":"b"}', "", {"name": "echo", "arguments": {"a": "b"}}),
        ("resources/read", b"{}", "", {"uri": "file:///a"}),
        (
            "completion/complete",
            b'{"argument":{"name":"x","value":"y"},"context":{"arguments":{}}}',
            "prompt",
            {
                "ref": {"type": "ref/prompt", "name": "echo"},
                "argument": {"name": "x", "value": "y"},
                "context": {"arguments": {}},
            },
        ),
        (
            "completion/complete",
            b'{"argument":{"name":"x","value":"y"}}',
            "resource",
            {"ref": {"type": "ref/resource", "uri": "echo"}, "argument": {"name": "x", "value": "y"}},
        ),
        ("tasks/get", b"{}", "", {"taskId": "echo"}),
    ],
)
async def test_every_method_says_what_it_is_about(
    parked: Parked, method: str, arguments: bytes, refers_to: str, members: object
) -> None:
    async def plain(outgoing: Outgoing, _: Ask | None) -> Raw:
        return Raw(result=b"{}")

    server, asked = Server(plain), request("modern", method=method)
    asked.arguments, asked.refers_to = arguments, refers_to  # type: ignore[assignment]
    await run(server, asked, "modern", parked)
    (sent,) = server.heard
    assert sent.method == method
    assert json.loads(b"{%b}" % sent.members.rstrip(b",")) == members


async def test_a_server_that_completes_nothing_is_not_asked(parked: Parked) -> None:
    async def never(outgoing: Outgoing, _: Ask | None) -> Raw:
        raise AssertionError

    raw = await run(Server(never), request("modern", method="completion/complete"), "modern", parked, offers=())
    assert json.loads(raw.result)["completion"]["values"] == []


# === error -32042 ===


@pytest.mark.parametrize(("era", "code"), [("legacy", -32602), ("modern", -32021)])
async def test_a_prompt_that_needs_a_page_names_it_in_its_error(parked: Parked, era: str, code: int) -> None:
    pages = [{"mode": "url", "url": "https://x/1", "elicitationId": "1"}, {"mode": "form", "url": "no"}]

    async def needs(_outgoing: Outgoing, _ask: Ask | None) -> Raw:
        return Raw(error=msgspec.json.encode({"code": -32042, "message": "m", "data": {"elicitations": pages}}))

    raw = await run(Server(needs), request(era, method="prompts/get"), "legacy", parked)
    error = json.loads(raw.error)
    assert error["code"] == code
    assert error["message"].endswith("\nhttps://x/1")
