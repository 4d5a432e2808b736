"""Servers' questions to sessions, and answers that come to whichever worker."""

import asyncio
import json

import pytest

from adapters.memory.bus import MemoryBus
from core.bus import BusAway
from core.call import Inbound, Question
from core.errors import Reason, Unavailable
from core.mcp.jsonrpc import Answer
from data_plane.fronts.back_channel import SESSION_CAP, BackChannel
from data_plane.fronts.mail import Mail

FORM = Question("elicitation/create", b'{"message":"who?","mode":"form","requestedSchema":{"type":"object"}}')
PAGE = Question("elicitation/create", b'{"message":"go","mode":"url","url":"https://example.com"}')
ROOTS = Question("roots/list")


class Client:
    """Of one session; what it is told is kept."""

    def __init__(self, revision: str = "2025-11-25", session: bytes = b"s") -> None:
        self.inbound = Inbound(
            id="i",
            tenant="acme",
            endpoint="default",
            transport="streamable_http",
            era="legacy",
            revision=revision,
            method="tools/call",
            credential=b"k",
            session=session,
        )
        self.heard: list[dict] = []
        self.asked = asyncio.Event()
        self.there = True

    def say(self, message: bytes) -> bool:
        self.heard.append(json.loads(message))
        self.asked.set()
        return self.there

    def answer(self, text: bytes = b'{"action":"accept"}') -> Answer:
        return Answer(json.dumps(self.heard[-1]["id"]).encode(), text)


async def worker(bus: MemoryBus, **options: float) -> BackChannel:
    mail = Mail(bus)
    channel = BackChannel(mail, **options)
    await mail.open()
    return channel


async def test_an_answer_finds_the_worker_that_waits_for_it() -> None:
    bus, client = MemoryBus(), Client()
    asking, other = await worker(bus), await worker(bus)
    asked = asyncio.ensure_future(asking.ask(client.inbound, FORM, client.say))
    await client.asked.wait()
    question = client.heard[0]
    assert question["params"]["requestedSchema"] == {"type": "object"}
    await other.answered(b"another session", client.answer(b'{"action":"decline"}'))
    assert not asked.done()
    await other.answered(b"s", client.answer())
    assert (await asked).result == b'{"action":"accept"}'
    await other.answered(b"s", client.answer())
    assert asking.bound.held == 0


@pytest.mark.parametrize(
    "id_", [b"1", b'"x"', b'"a-b"', b'"front/x-y"', b'"../etc-passwd"', b'"' + b"a" * 500 + b'-b"']
)
async def test_an_answer_nobody_asked_for_is_nobodys(id_: bytes) -> None:
    await (await worker(MemoryBus())).answered(b"s", Answer(id_, b"{}"))


async def test_a_question_nobody_answers_is_taken_back() -> None:
    client = Client()
    channel = await worker(MemoryBus(), ttl_s=0.01)
    with pytest.raises(Unavailable, match="Nobody answered"):
        await channel.ask(client.inbound, FORM, client.say)
    asked, cancelled = client.heard
    assert cancelled["method"] == "notifications/cancelled"
    assert cancelled["params"]["requestId"] == asked["id"]


async def test_a_question_of_a_call_that_ended_is_taken_back() -> None:
    client = Client()
    channel = await worker(MemoryBus())
    asked = asyncio.ensure_future(channel.ask(client.inbound, ROOTS, client.say))
    await client.asked.wait()
    assert "params" not in client.heard[0]
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert client.heard[1]["params"]["requestId"] == client.heard[0]["id"]
    assert channel.bound.held == 0


@pytest.mark.parametrize(("revision", "question"), [("2025-03-26", FORM), ("2025-06-18", PAGE)])
async def test_a_client_is_asked_only_what_its_revision_has(revision: str, question: Question) -> None:
    client = Client(revision)
    reply = await (await worker(MemoryBus())).ask(client.inbound, question, client.say)
    assert json.loads(reply.error)["code"] == -32601
    assert client.heard == []


async def test_a_client_that_cannot_be_reached_is_not_waited_for() -> None:
    client = Client()
    client.there = False
    with pytest.raises(Unavailable, match="cannot be reached"):
        await (await worker(MemoryBus())).ask(client.inbound, FORM, client.say)


async def test_one_caller_has_a_fourth_of_all_questions_in_however_many_sessions() -> None:
    channel = await worker(MemoryBus(), cap=8)
    mine, others = [Client(session=b"%d" % n) for n in range(3)], Client(session=b"other")
    for client in mine:
        client.inbound.principal = "acme/ann/"
    asked = [asyncio.ensure_future(channel.ask(one.inbound, ROOTS, one.say)) for one in (*mine[:2], others)]
    await asyncio.wait_for(others.asked.wait(), 5)
    with pytest.raises(Unavailable, match="this caller"):
        await channel.ask(mine[2].inbound, ROOTS, mine[2].say)
    assert (channel.bound.held, channel.bound.hits) == (3, 1)
    for one in asked:
        one.cancel()
    await asyncio.wait(asked)
    again = asyncio.ensure_future(channel.ask(mine[2].inbound, ROOTS, mine[2].say))
    await asyncio.wait_for(mine[2].asked.wait(), 5)
    again.cancel()


async def test_a_session_has_so_many_questions_at_once() -> None:
    client, other = Client(), Client(session=b"other")
    channel = await worker(MemoryBus())
    asked = [asyncio.ensure_future(channel.ask(client.inbound, ROOTS, client.say)) for _ in range(SESSION_CAP)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refused:
        await channel.ask(client.inbound, ROOTS, client.say)
    assert refused.value.reason is Reason.OVERLOADED
    beside = asyncio.ensure_future(channel.ask(other.inbound, ROOTS, other.say))
    await other.asked.wait()
    for task in (*asked, beside):
        task.cancel()
    await asyncio.gather(*asked, beside, return_exceptions=True)
    assert channel.bound.held == 0


async def test_an_answer_that_cannot_be_handed_over_may_be_sent_again() -> None:
    class Away(MemoryBus):
        async def publish(self, topic: str, message: bytes) -> None:
            raise BusAway

    channel = await worker(Away())
    with pytest.raises(Unavailable) as failed:
        await channel.answered(b"s", Answer(b'"0123456789abcdef-00"', b"{}"))
    assert failed.value.retry_after_s == 1


async def test_what_a_session_was_asked_ends_with_it_wherever_it_waits() -> None:
    bus, client, other = MemoryBus(), Client(), Client(session=b"other")
    asking, ending = await worker(bus), await worker(bus)
    asked, kept = (asyncio.ensure_future(asking.ask(one.inbound, FORM, one.say)) for one in (client, other))
    await client.asked.wait()
    await other.asked.wait()
    ending.end(client.inbound.session)
    reply = await asyncio.wait_for(asked, 5)
    assert "ended" in json.loads(reply.error)["message"]
    assert not kept.done()
    kept.cancel()
    await asyncio.wait((kept,))
    assert asking.bound.held == 0
