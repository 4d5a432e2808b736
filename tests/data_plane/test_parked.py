"""Calls that wait for answers: in one worker, and between two over the bus."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from adapters.memory.bus import MemoryBus
from core.bound import Bound
from core.bus import MESSAGE_MAX_BYTES, Deliver, Leave
from core.call import Ask, Notification, Notify, Question, Raw, Reply
from core.errors import Reason, Unavailable
from core.mcp.rounds import Asked
from data_plane.parked import Call, Parked, ParkedGone

WHO = Question("elicitation/create", b'{"message":"who?"}')
ROOTS = Question("roots/list")
SOON_S = 5.0


def silent(_: Notification) -> None:
    """Nobody listens."""


async def greeting(notify: Notify, ask: Ask) -> Raw:
    reply = await ask(WHO)
    notify(Notification("notifications/progress", b'{"progress":1}'))
    return Raw(result=b'{"said":%b}' % reply.result)


async def two_at_once(_: Notify, ask: Ask) -> Raw:
    one, other = await asyncio.gather(ask(WHO), ask(ROOTS))
    return Raw(result=one.result + other.result)


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture
async def parked(bus: MemoryBus) -> AsyncIterator[Parked]:
    kept = Parked(bus)
    yield kept
    await kept.close()


async def begun(parked: Parked, run: object = greeting, principal: bytes = b"") -> tuple[str, Asked]:
    call = Call(run, silent, principal)  # type: ignore[arg-type]
    asked = await call.next()
    assert isinstance(asked, Asked)
    return await parked.park(call), asked


async def test_a_call_goes_on_with_the_answer(parked: Parked) -> None:
    handle, asked = await begun(parked)
    (key,) = asked.questions
    assert len(parked) == 1
    raw = await parked.resume(handle, {key: Reply(b'"ann"')}, silent)
    assert raw == Raw(result=b'{"said":"ann"}')
    assert len(parked) == 0


async def test_what_is_not_answered_is_asked_again_and_what_nobody_asked_is_ignored(parked: Parked) -> None:
    handle, asked = await begun(parked, two_at_once)
    assert len(asked.questions) == 2 or await asyncio.sleep(0) is None
    again = await parked.resume(handle, {"nobody": Reply(b"{}")}, silent)
    assert isinstance(again, Asked)
    first, second = again.questions
    rest = await parked.resume(handle, {first: Reply(b"1")}, silent)
    assert isinstance(rest, Asked)
    assert list(rest.questions) == [second]
    assert await parked.resume(handle, {second: Reply(b"2")}, silent) == Raw(result=b"12")


async def test_another_worker_resumes_it_and_hears_its_progress(parked: Parked, bus: MemoryBus) -> None:
    other = Parked(bus)
    handle, asked = await begun(parked)
    heard: list[Notification] = []
    raw = await asyncio.wait_for(
        other.resume(handle, {next(iter(asked.questions)): Reply(b'"bob"')}, heard.append), SOON_S
    )
    assert raw == Raw(result=b'{"said":"bob"}')
    assert [note.method for note in heard] == ["notifications/progress"]


class FarBus(MemoryBus):
    """Whoever stops waiting before a message is on its way takes it back, as between a worker and its supervisor."""

    async def publish(self, topic: str, message: bytes) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        await super().publish(topic, message)


async def test_a_turn_that_is_over_before_its_first_sign_of_life_is_not_missed() -> None:
    bus = FarBus()
    owner, other = Parked(bus), Parked(bus)
    handle, asked = await begun(owner)
    heard: list[Notification] = []
    answers = {next(iter(asked.questions)): Reply(b'"bob"')}
    raw = await asyncio.wait_for(other.resume(handle, answers, heard.append), SOON_S)
    assert raw == Raw(result=b'{"said":"bob"}')
    assert [one.params for one in heard] == [b'{"progress":1}']


async def test_a_question_of_the_next_round_also_crosses(parked: Parked, bus: MemoryBus) -> None:
    other = Parked(bus)
    handle, _ = await begun(parked, two_at_once)
    again = await asyncio.wait_for(other.resume(handle, {}, silent), SOON_S)
    assert isinstance(again, Asked)
    replies = dict.fromkeys(again.questions, Reply(b"1"))
    assert await asyncio.wait_for(other.resume(handle, replies, silent), SOON_S) == Raw(result=b"11")


async def test_a_call_nobody_has_is_gone_in_seconds(parked: Parked) -> None:
    with pytest.raises(ParkedGone):
        await asyncio.wait_for(parked.resume("nobody", {}, silent), SOON_S)


async def test_a_failure_reaches_whoever_resumes_wherever(parked: Parked, bus: MemoryBus) -> None:
    async def failing(_: Notify, ask: Ask) -> Raw:
        await ask(WHO)
        raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "public", detail="detail")

    for resumer in (parked, Parked(bus)):
        handle, asked = await begun(parked, failing)
        with pytest.raises(Unavailable, match="detail") as failure:
            await asyncio.wait_for(resumer.resume(handle, dict.fromkeys(asked.questions, Reply(b"{}")), silent), SOON_S)
        assert failure.value.reason is Reason.UPSTREAM_UNAVAILABLE


async def test_an_answer_too_large_for_another_worker_is_said_to_be(parked: Parked, bus: MemoryBus) -> None:
    async def large(_: Notify, ask: Ask) -> Raw:
        await ask(Question("roots/list"))
        return Raw(result=b"x" * (MESSAGE_MAX_BYTES + 100))

    handle, asked = await begun(parked, large)
    other = Parked(bus)
    with pytest.raises(Unavailable) as caught:
        async with asyncio.timeout(5):
            await other.resume(handle, dict.fromkeys(asked.questions, Reply(result=b"{}")), silent)
    assert caught.value.reason is Reason.UPSTREAM_TOO_LARGE


async def test_a_resumer_that_goes_away_ends_the_call(parked: Parked, bus: MemoryBus) -> None:
    answered, ended = asyncio.Event(), asyncio.Event()

    async def endless(_: Notify, ask: Ask) -> Raw:
        await ask(WHO)
        answered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    handle, asked = await begun(parked, endless)
    replies = dict.fromkeys(asked.questions, Reply(b"{}"))
    resuming = asyncio.create_task(Parked(bus).resume(handle, replies, silent))
    await asyncio.wait_for(answered.wait(), SOON_S)
    resuming.cancel()
    await asyncio.wait_for(ended.wait(), SOON_S)


async def test_a_call_left_alone_ends_with_its_time(bus: MemoryBus) -> None:
    impatient = Parked(bus, ttl_s=0.01)
    handle, _ = await begun(impatient)
    while len(impatient):
        await asyncio.sleep(0.005)
    assert impatient.expired == 1
    with pytest.raises(ParkedGone):
        await impatient.resume(handle, {}, silent)


async def test_at_the_cap_a_call_is_given_up(bus: MemoryBus) -> None:
    small = Parked(bus, cap=1)
    await begun(small)
    with pytest.raises(Unavailable) as full:
        await begun(small)
    assert full.value.reason is Reason.OVERLOADED
    assert (len(small), small.refused) == (1, 1)
    await small.close()
    assert len(small) == 0


async def test_calls_that_ask_at_once_do_not_pass_the_cap_together() -> None:
    class Slow(MemoryBus):
        async def subscribe(self, topic: str, deliver: Deliver) -> Leave:
            await asyncio.sleep(0)
            return await super().subscribe(topic, deliver)

    small = Parked(Slow(), cap=2)
    got = await asyncio.gather(*(begun(small) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(one, Unavailable) for one in got) == 4
    assert small.bound == Bound(2, 2, 4)
    await small.close()


async def test_one_caller_has_a_fourth_of_all_places_and_gets_them_back(bus: MemoryBus) -> None:
    small = Parked(bus, cap=8)
    handle, asked = await begun(small, principal=b"ann")
    await begun(small, principal=b"ann")
    with pytest.raises(Unavailable):
        await begun(small, principal=b"ann")
    await begun(small, principal=b"bob")
    (key,) = asked.questions
    await small.resume(handle, {key: Reply(b'"ann"')}, silent)
    await begun(small, principal=b"ann")
    await small.close()


async def test_a_caller_that_leaves_while_its_call_is_being_parked_takes_it_along() -> None:
    class Slow(MemoryBus):
        async def subscribe(self, topic: str, deliver: Deliver) -> Leave:
            await asyncio.Event().wait()
            return await super().subscribe(topic, deliver)

    call = Call(greeting, silent)
    await call.next()
    parking = asyncio.ensure_future(Parked(Slow()).park(call))
    await asyncio.sleep(0)
    parking.cancel()
    await asyncio.wait((parking, call.task), timeout=SOON_S)
    assert call.task.cancelled()


async def test_a_call_that_ends_while_parked_is_gone(parked: Parked) -> None:
    stop = asyncio.Event()

    async def taken_back(_: Notify, ask: Ask) -> Raw:
        question = asyncio.ensure_future(ask(WHO))
        await stop.wait()
        question.cancel()
        return Raw(result=b"{}")

    handle, _ = await begun(parked, taken_back)
    stop.set()
    while len(parked):
        await asyncio.sleep(0)
    with pytest.raises(ParkedGone):
        await asyncio.wait_for(parked.resume(handle, {}, silent), SOON_S)
