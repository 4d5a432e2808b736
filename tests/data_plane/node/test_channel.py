"""Two ends of a channel: answers, notes, cancellation, back-pressure, and what a broken peer cannot do."""

import asyncio
import os
import random
import socket
import struct

import msgspec
import pytest

from core import call
from core.call import Interest, Notification, Notify, Outgoing, Raw, Route
from core.errors import Reason, Unavailable
from core.limits import Bucket, CountersAway, Grant
from core.server import StdioTransport
from core.snapshot import Backend
from data_plane import channel as channel_module
from data_plane.channel import Channel, ChannelLost, open_channel
from data_plane.messages import (
    Answer,
    Ask,
    Delivered,
    Done,
    Failed,
    Forget,
    GiveBack,
    Granted,
    Lookup,
    News,
    Question,
    Ran,
    Take,
    ToolCall,
    Watch,
)
from data_plane.remote import RemoteBackend, RemoteCounters

BUCKET = Bucket(rate_per_s=0.0, burst=100)
ROUTE = Route(
    tenant="acme",
    backend=Backend(server="srv", transport=StdioTransport(command=["prog"]), era="legacy"),
    tool="t",
    env=(("A", "b"),),
)


class Side:
    """A Peer that answers by the question's kind and remembers what it was told."""

    def __init__(self) -> None:
        self.news: list[News] = []
        self.heard = asyncio.Event()
        self.is_lost = asyncio.Event()
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.asking = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def asked(self, question: Question, notify: Notify, ask: call.Ask) -> Answer:
        if isinstance(question, Take):
            if question.key == "away":
                raise CountersAway("gone")
            return Granted(question.want, 0.25)
        if isinstance(question, GiveBack):
            return Done()
        if isinstance(question, ToolCall):
            return await self._run(question, notify, ask)
        if isinstance(question, Watch):
            notify(Notification("", b""))
            notify(Notification("notifications/tools/list_changed", b"{}"))
            raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "gone", detail="lost")
        raise ZeroDivisionError

    async def _run(self, question: ToolCall, notify: Notify, ask: call.Ask) -> Answer:
        arguments = question.outgoing.arguments
        if arguments == b"ask":
            replies = await asyncio.gather(*(ask(call.Question("roots/list", b"%d" % n)) for n in range(3)))
            return Ran(Raw(result=b",".join(reply.result for reply in replies)))
        if arguments == b"ask and change its mind":
            asking = asyncio.ensure_future(ask(call.Question("roots/list")))
            self.asking.set()
            await self.may_go_on.wait()
            asking.cancel()
            await asyncio.wait({asking})
            return Ran(Raw(result=b"never mind"))
        if arguments == b"ask too much":
            asked = [ask(call.Question("roots/list")) for _ in range(channel_module.QUERIES_MAX + 1)]
            done, _ = await asyncio.wait(map(asyncio.ensure_future, asked), return_when=asyncio.FIRST_EXCEPTION)
            (refused,) = [one for one in done if one.exception() is not None]
            return Ran(Raw(result=str(refused.exception()).encode()))
        if arguments == b"fail":
            raise Unavailable(Reason.UPSTREAM_TIMEOUT, "late", detail="why", retry_after_s=2.5)
        if arguments == b"hang":
            self.started.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        for number in range(3):
            notify(Notification("notifications/progress", b"%d" % number))
        return Ran(Raw(result=arguments, size_bytes=len(arguments)))

    def told(self, news: News) -> None:
        self.news.append(news)
        self.heard.set()

    def lost(self) -> None:
        self.is_lost.set()


async def pair() -> tuple[Channel, Side, Channel, Side]:
    left, right = socket.socketpair()
    here, there = Side(), Side()
    return await open_channel(left, here, "here"), here, await open_channel(right, there, "there"), there


async def test_a_question_is_answered_and_news_arrive_in_order() -> None:
    here, _, there, other = await pair()
    async with asyncio.timeout(20):
        here.tell(Forget("a"))
        here.tell(Delivered(7, b"s"))
        assert await here.ask(Take("k", BUCKET, 3)) == Granted(3, 0.25)
    assert other.news == [Forget("a"), Delivered(7, b"s")]
    here.abort()
    there.abort()


async def test_remote_counters_travel_and_so_does_their_absence() -> None:
    here, _, there, _ = await pair()
    counters = RemoteCounters(here)
    async with asyncio.timeout(20):
        assert await counters.take("k", BUCKET, 5) == Grant(5, 0.25)
        await counters.give_back("k", BUCKET, 2)
        with pytest.raises(CountersAway, match="gone"):
            await counters.take("away", BUCKET, 1)
        there.abort()
        await here.closed.wait()
        with pytest.raises(CountersAway):
            await counters.take("k", BUCKET, 1)
        await counters.give_back("k", BUCKET, 2)


async def test_a_remote_call_brings_its_notifications_before_its_result() -> None:
    here, _, there, _ = await pair()
    seen: list[bytes] = []
    async with asyncio.timeout(20):
        raw = await RemoteBackend(here).call(
            ROUTE, Outgoing(arguments=b"x" * 3_000_000), lambda n: seen.append(n.params)
        )
    assert raw.result == b"x" * 3_000_000
    assert seen == [b"0", b"1", b"2"]
    here.abort()
    there.abort()


async def test_an_unavailable_backend_is_unavailable_at_the_other_end_too() -> None:
    here, _, there, _ = await pair()
    with pytest.raises(Unavailable) as caught:
        await RemoteBackend(here).call(ROUTE, Outgoing(arguments=b"fail"), lambda _: None)
    failure = caught.value
    assert (failure.reason, failure.public, failure.detail, failure.retry_after_s) == (
        Reason.UPSTREAM_TIMEOUT, "late", "why", 2.5,
    )  # fmt: skip
    here.abort()
    there.abort()


async def test_cancelling_the_caller_cancels_the_work() -> None:
    here, _, there, other = await pair()
    calling = asyncio.ensure_future(RemoteBackend(here).call(ROUTE, Outgoing(arguments=b"hang"), lambda _: None))
    async with asyncio.timeout(20):
        await other.started.wait()
        calling.cancel()
        await other.cancelled.wait()
    here.abort()
    there.abort()


async def test_a_question_back_is_answered_by_who_asked_in_the_first_place() -> None:
    here, _, there, _ = await pair()
    asked: list[call.Question] = []

    async def ask(question: call.Question) -> call.Reply:
        asked.append(question)
        await asyncio.sleep(0)
        return call.Reply(result=b"r" + question.params)

    async with asyncio.timeout(20):
        raw = await RemoteBackend(here).call(ROUTE, Outgoing(arguments=b"ask"), lambda _: None, ask)
    assert raw.result == b"r0,r1,r2"
    assert asked == [call.Question("roots/list", b"%d" % n) for n in range(3)]
    here.abort()
    there.abort()


async def test_a_caller_that_does_not_answer_in_time_is_unavailable_at_the_other_end() -> None:
    here, _, there, _ = await pair()

    async def ask(_: call.Question) -> call.Reply:
        raise Unavailable(Reason.UPSTREAM_TIMEOUT, "nobody", detail="away")

    with pytest.raises(Unavailable) as caught:
        async with asyncio.timeout(20):
            await RemoteBackend(here).call(ROUTE, Outgoing(arguments=b"ask"), lambda _: None, ask)
    assert (caught.value.reason, caught.value.detail) == (Reason.UPSTREAM_TIMEOUT, "away")
    here.abort()
    there.abort()


@pytest.mark.parametrize("how", ["taken back", "call cancelled", "channel lost"])
async def test_a_question_back_ends_with_its_worker_its_call_and_its_channel(how: str) -> None:
    here, _, there, other = await pair()
    asked, ended = asyncio.Event(), asyncio.Event()

    async def ask(_: call.Question) -> call.Reply:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    outgoing = Outgoing(arguments=b"ask and change its mind")
    calling = asyncio.ensure_future(RemoteBackend(here).call(ROUTE, outgoing, lambda _: None, ask))
    async with asyncio.timeout(20):
        await asked.wait()
        if how == "taken back":
            other.may_go_on.set()
            assert (await calling).result == b"never mind"
        elif how == "call cancelled":
            calling.cancel()
        else:
            there.abort()
        await ended.wait()
        await asyncio.wait({calling})
    here.abort()
    there.abort()


async def test_questions_back_are_capped() -> None:
    here, _, there, _ = await pair()

    async def ask(_: call.Question) -> call.Reply:
        await asyncio.Event().wait()
        raise AssertionError

    async with asyncio.timeout(20):
        raw = await RemoteBackend(here).call(ROUTE, Outgoing(arguments=b"ask too much"), lambda _: None, ask)
    assert raw.result == b"upstream_timeout: busy"
    here.abort()
    there.abort()


async def test_a_watch_says_that_it_began_then_tells_then_says_how_it_ended() -> None:
    here, _, there, _ = await pair()
    told: list[str] = []
    with pytest.raises(Unavailable, match="lost"):
        async with asyncio.timeout(20):
            await RemoteBackend(here).watch(
                ROUTE, Interest(), lambda note: told.append(note.method), began=lambda: told.append("began")
            )
    assert told == ["began", "notifications/tools/list_changed"]
    here.abort()
    there.abort()


async def test_losing_a_side_fails_its_questions_and_stops_its_work() -> None:
    here, mine, there, other = await pair()
    calling = asyncio.ensure_future(here.ask(ToolCall(ROUTE, Outgoing(arguments=b"hang"), False)))
    async with asyncio.timeout(20):
        await other.started.wait()
        here.abort()
        with pytest.raises(ChannelLost):
            await calling
        await other.cancelled.wait()
        await other.is_lost.wait()
        await mine.is_lost.wait()
    with pytest.raises(ChannelLost):
        await here.ask(Lookup("a", b""))
    with pytest.raises(ChannelLost):
        await there.ask(Lookup("a", b""))


async def test_a_bug_on_one_side_answers_its_question_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    here, _, there, _ = await pair()
    async with asyncio.timeout(20):
        assert await here.ask(Lookup("a", b"")) == Failed("bug")
        assert await here.ask(Take("k", BUCKET, 1)) == Granted(1, 0.25)
    assert "ZeroDivisionError" in caplog.text
    here.abort()
    there.abort()


async def test_a_peer_that_reads_nothing_is_cut() -> None:
    left, _unread = socket.socketpair()
    mine = Side()
    here = await open_channel(left, mine, "here", unsent_max_bytes=1_000_000)
    async with asyncio.timeout(20):
        while not here.closed.is_set():
            here.tell(Delivered(1, b"s" * 100_000))
            await asyncio.sleep(0)
        await mine.is_lost.wait()
    _unread.close()


@pytest.mark.parametrize("seed", range(40))
async def test_garbage_from_the_other_side_cuts_the_channel_and_raises_nowhere(seed: int) -> None:
    chance = random.Random(seed)
    left, raw = socket.socketpair()
    raw.setblocking(False)
    mine = Side()
    here = await open_channel(left, mine, "here")
    good = msgspec.msgpack.encode(Ask(1, Take("k", BUCKET, 1)))
    frame = bytearray(struct.pack(">I", len(good)) + good)
    match chance.randrange(3):
        case 0:
            payload = chance.randbytes(chance.randrange(1, 400))
            frame = bytearray(struct.pack(">I", len(payload)) + payload)
        case 1:
            frame[chance.randrange(4, len(frame))] ^= chance.randrange(1, 256)
        case 2:
            frame = bytearray(struct.pack(">I", 2**31 + chance.randrange(2**30)))
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(raw, bytes(frame))
    raw.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(20):
        await mine.is_lost.wait()
    assert here.closed.is_set()
    raw.close()


async def test_frames_cut_anywhere_are_put_together_again() -> None:
    left, raw = socket.socketpair()
    raw.setblocking(False)
    mine = Side()
    here = await open_channel(left, mine, "here")
    loop = asyncio.get_running_loop()
    chance = random.Random(7)
    news = [Delivered(n, os.urandom(chance.randrange(600))) for n in range(50)]
    from data_plane.messages import Tell

    stream = b"".join(struct.pack(">I", len(e)) + e for e in (msgspec.msgpack.encode(Tell(one)) for one in news))
    while stream:
        size = chance.randrange(1, 300)
        await loop.sock_sendall(raw, stream[:size])
        stream = stream[size:]
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        while len(mine.news) < len(news):
            mine.heard.clear()
            await mine.heard.wait()
    assert mine.news == news
    here.abort()
    raw.close()
