"""Streams taken up again: what was missed comes once, in order, whoever ran them."""

import asyncio
import time

import pytest

from adapters.memory.bus import MemoryBus, MemoryEvents
from core.errors import Refused
from data_plane.fronts.mail import Mail
from data_plane.fronts.trails import Name, Said, TakenUp, Trail, Trails, read

SESSION = b"a session's id"


async def workers(count: int = 2, **limits: int) -> list[Trails]:
    bus, events = MemoryBus(), MemoryEvents(time.monotonic, **limits)
    made = []
    for _ in range(count):
        mail = Mail(bus)
        made.append(Trails(events, mail))
        await mail.open()
    return made


def begun(trails: Trails) -> Trail:
    trail = trails.begin("call", SESSION, lambda: None, b"7")
    assert trail is not None
    return trail


async def taken(trails: Trails, said: Said, session: bytes = SESSION) -> TakenUp:
    return await trails.take_up(read(said.id, session))


async def test_what_was_missed_comes_first_and_what_follows_comes_live() -> None:
    one, other = await workers()
    trail = begun(one)
    seen = trail.add(b"")
    missed = [trail.add(b"%d" % number) for number in range(3)]
    up = await taken(other, seen)
    assert up.missed == missed
    assert up.alive
    later = trail.add(b"later")
    last = trail.add(b"last", last=True)
    assert await up.next(5) == later
    assert await up.next(5) == last
    assert not up.alive
    up.close()
    assert one.bound.held == 0


async def test_a_stream_that_ended_meanwhile_is_told_to_its_end() -> None:
    one, other = await workers()
    trail = begun(one)
    seen, result = trail.add(b""), trail.add(b"result", last=True)
    await trail.flushed()
    for _ in range(2):
        up = await taken(other, seen)
        assert (up.missed, up.alive) == ([result], False)
        up.close()


async def test_whoever_ran_it_stops_writing_when_it_is_taken_up() -> None:
    one, other = await workers()
    stopped = asyncio.Event()
    trail = one.begin("call", SESSION, stopped.set, b"7")
    assert trail is not None
    up = await taken(other, trail.add(b""))
    assert stopped.is_set()
    again = await taken(one, Said(trail.name.id(1), b""))
    assert await up.next(5) is None
    assert up.superseded, "the newest has it"
    assert again.alive
    up.close()
    again.close()


async def test_an_events_id_is_of_its_session_only() -> None:
    (one,) = await workers(1)
    said = begun(one).add(b"")
    assert read(said.id, SESSION).number == 1
    for id_, session in [
        (said.id, b"another"),
        (said.id + "0", b"another"),
        (said.id[:-1] + "0", SESSION),
        ("s" + said.id[1:], SESSION),
        ("", SESSION),
        ("é" * 10, SESSION),
        (said.id + "1" * 300, SESSION),
    ]:
        with pytest.raises(Refused):
            read(id_, session)


async def test_events_that_are_kept_no_more_are_refused_and_those_of_a_session_are_a_gap() -> None:
    one, other = await workers(cap=2)
    trail = begun(one)
    seen = trail.add(b"")
    for number in range(5):
        trail.add(b"%d" % number)
    with pytest.raises(Refused, match="events gone"):
        await taken(other, seen)
    standing = one.begin("session", SESSION, lambda: None)
    assert standing is not None
    seen = standing.add(b"")
    for number in range(5):
        standing.add(b"%d" % number)
    up = await taken(other, seen)
    assert (up.gap, up.missed) == (True, [])
    up.close()


async def test_a_quiet_session_missed_nothing_however_long_ago_its_last_event_was() -> None:
    one, other = await workers()
    standing = one.begin("session", SESSION, lambda: None)
    assert standing is not None
    up = await taken(other, standing.add(b""))
    assert (up.gap, up.missed) == (False, [])
    up.close()


async def test_a_stream_whose_worker_is_gone_says_whose_request_it_was() -> None:
    one, other = await workers()
    trail = begun(one)
    seen, more = trail.add(b""), trail.add(b"more")
    await trail.flushed()
    lost = Name("call", "0" * 16, trail.name.stream, SESSION)
    up = TakenUp(other, Name(lost.kind, lost.owner, lost.stream, SESSION, 1))
    begun_at = time.monotonic()
    await up.begin()
    assert time.monotonic() - begun_at < 5
    assert (up.alive, up.request_id, [said.message for said in up.missed]) == (False, b"7", [b"more"])
    assert more.message == b"more"
    assert seen.id != up.missed[0].id
    up.close()
