"""Tokens on callers' behalf: kept to their end, asked for once at a time, and told apart from a no."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from core.exchange import Declined, Wanted
from core.snapshot import Token
from data_plane.on_behalf import OnBehalf
from tests.core.test_exchange import auth, wanted

KEY = b"k"


class Endpoint:
    """Answers when it is let, with what is next."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[Wanted] = []
        self.answers: list[Token | Declined] = []
        self.open = asyncio.Event()
        self.open.set()
        self.asking = asyncio.Event()
        self.kept = OnBehalf(self.obtain, lambda: self.now, cap=3)

    async def obtain(self, of: Wanted) -> Token | Declined:
        self.asked.append(of)
        self.asking.set()
        await self.open.wait()
        return self.answers.pop(0)

    def gives(self, value: str, life_s: float = 100.0) -> Token:
        token = Token("Bearer", value, self.now + life_s)
        self.answers.append(token)
        return token

    async def token(self, key: bytes = KEY) -> Token | Declined:
        return await self.kept.token(wanted(auth()), key)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    yield made
    await made.kept.close()


async def test_however_many_wait_it_is_asked_once_and_then_nobody_is(endpoint: Endpoint) -> None:
    endpoint.open.clear()
    given = endpoint.gives("t")
    waiting = [asyncio.ensure_future(endpoint.token()) for _ in range(20)]
    await endpoint.asking.wait()
    endpoint.open.set()
    assert await asyncio.gather(*waiting) == [given] * 20
    assert endpoint.kept.at_hand(KEY, endpoint.now) == given
    assert len(endpoint.asked) == 1


async def test_who_gives_up_waiting_stops_nobody_elses_request(endpoint: Endpoint) -> None:
    endpoint.open.clear()
    given = endpoint.gives("t")
    first, second = asyncio.ensure_future(endpoint.token()), asyncio.ensure_future(endpoint.token())
    await endpoint.asking.wait()
    first.cancel()
    endpoint.open.set()
    assert await second == given


async def test_shortly_before_its_end_the_next_is_had_and_nobody_waits_for_it(endpoint: Endpoint) -> None:
    old = endpoint.gives("old")
    assert await endpoint.token() == old
    endpoint.now += 85.0  # Of 100 s the last 20 are the margin.
    assert endpoint.kept.at_hand(KEY, endpoint.now) is None
    endpoint.open.clear()
    endpoint.asking.clear()
    new = endpoint.gives("new")
    assert await endpoint.token() == old
    await endpoint.asking.wait()
    endpoint.open.set()
    while endpoint.kept.at_hand(KEY, endpoint.now) is None:
        await asyncio.sleep(0)
    assert await endpoint.token() == new


async def test_while_the_provider_is_away_a_token_goes_on_to_its_end_and_then_there_is_none(endpoint: Endpoint) -> None:
    old = endpoint.gives("old")
    await endpoint.token()
    endpoint.now += 85.0
    away = Declined(refused=False, detail="away")
    endpoint.answers.append(away)
    assert await endpoint.token() == old
    endpoint.now += 16.0
    endpoint.answers.append(away)
    assert await endpoint.token() == away


async def test_a_no_stands_for_a_moment_and_is_asked_about_again(endpoint: Endpoint) -> None:
    no = Declined(refused=True, detail="invalid_grant")
    endpoint.answers.append(no)
    assert await endpoint.token() == no
    assert await endpoint.token() == no
    assert len(endpoint.asked) == 1
    endpoint.now += 5.0
    given = endpoint.gives("t")
    assert await endpoint.token() == given


async def test_a_token_the_server_refuses_is_replaced_but_not_at_once_again(endpoint: Endpoint) -> None:
    endpoint.gives("one")
    await endpoint.token()
    endpoint.kept.refused(KEY, "one")
    assert endpoint.kept.at_hand(KEY, endpoint.now), "had a moment ago: the next would be refused as well"
    endpoint.now += 3.0
    endpoint.kept.refused(KEY, "another")
    assert endpoint.kept.at_hand(KEY, endpoint.now)
    endpoint.kept.refused(KEY, "one")
    two = endpoint.gives("two")
    assert await endpoint.token() == two
    assert endpoint.asked[-1].spoilt == "one"


async def test_the_node_gives_no_worker_the_token_it_says_is_spoilt(endpoint: Endpoint) -> None:
    endpoint.gives("one")
    await endpoint.token()
    two = endpoint.gives("two")
    spoilt = msgspec.structs.replace(wanted(auth()), spoilt="one")
    assert await endpoint.kept.token(spoilt, KEY) == two
    assert await endpoint.kept.token(spoilt, KEY) == two, "another worker says so later: there is a new one by now"
    assert len(endpoint.asked) == 2


async def test_what_is_kept_has_a_cap_and_what_has_ended_does_not_stay(endpoint: Endpoint) -> None:
    for key in (b"a", b"b", b"c", b"d"):
        endpoint.gives(key.decode())
        await endpoint.token(key)
    assert (endpoint.kept.bound.held, endpoint.kept.bound.hits) == (3, 1)
    assert endpoint.kept.at_hand(b"a", endpoint.now) is None
    endpoint.now += 101.0
    endpoint.gives("e")
    await endpoint.token(b"e")
    assert endpoint.kept.bound.held == 1
