"""Listening on a channel of many: what the server tells besides answers, and what it must be asked for first."""

import asyncio
from collections.abc import Callable

from core.call import Interest, Notify, Raw, Route
from core.errors import Unavailable
from data_plane.upstreams import interests, jsonrpc
from data_plane.upstreams.duplex import Duplex
from data_plane.upstreams.failure import overloaded, unavailable
from data_plane.upstreams.interests import Ear

_LISTENERS = 64
_BEGINS_S = 30.0


async def watch(duplex: Duplex, interest: Interest, tell: Notify, began: Callable[[], None]) -> None:
    """`Watchable.watch` on an open channel, without a deadline for `began`. Raises Unavailable."""
    if len(duplex.ears) >= _LISTENERS:
        raise overloaded(f"{_LISTENERS} listeners are on one channel already")
    key = duplex.next_id()
    ear = duplex.ears[key] = Ear(interest, tell)
    try:
        await (_listen if duplex.era == "modern" else _subscribe)(duplex, key, ear, began)
    finally:
        del duplex.ears[key]
        duplex.last_used = asyncio.get_running_loop().time()


def within_s(route: Route) -> float:
    """How long a server has to begin: whoever listens for long may have a deadline that is far away."""
    return min(route.deadline_s, _BEGINS_S)


async def _listen(duplex: Duplex, key: int, ear: Ear, began: Callable[[], None]) -> None:
    """Subscriptions: the request stays open, and what belongs to it carries its id."""
    members = interests.listen_members(ear.interest)
    declared = interests.capabilities(ear.interest)
    loop = asyncio.get_running_loop()
    ended = loop.create_task(duplex.request("subscriptions/listen", members, capabilities=declared, id=key))
    heard, over = loop.create_task(ear.acknowledged.wait()), loop.create_task(ear.over.wait())
    try:
        await asyncio.wait({ended, heard, over}, return_when=asyncio.FIRST_COMPLETED)
        if heard.done():
            begin(ear, began)
            await asyncio.wait({ended, over}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            raise _over(duplex)
        raise ended_by(await ended)
    finally:
        for task in (ended, heard, over):
            task.cancel()
        await asyncio.gather(ended, heard, over, return_exceptions=True)


async def _subscribe(duplex: Duplex, _: int, ear: Ear, began: Callable[[], None]) -> None:
    """The handshake era: lists come unasked, resources are subscribed to."""
    mine: list[str] = []
    try:
        for uri in ear.interest.resources:
            answer = await duplex.request("resources/subscribe", b'"uri":%b,' % jsonrpc.encode(uri))
            if not answer.error:
                mine.append(uri)
        ear.keep(interests.subscribed(ear.interest, tuple(mine)))
        begin(ear, began)
        await ear.over.wait()
        raise _over(duplex)
    finally:
        ear.kept = None
        _unsubscribe(duplex, mine)


def _over(duplex: Duplex) -> Unavailable:
    return unavailable(duplex.why_down or "the server was removed or its settings changed")


def _unsubscribe(duplex: Duplex, uris: list[str]) -> None:
    """What nobody else on the channel listens for."""
    wanted = {uri for ear in duplex.ears.values() if ear.kept is not None for uri in ear.kept.resources}
    for uri in uris:
        if uri not in wanted and not duplex.down.is_set():
            try:
                left = duplex.begin("resources/unsubscribe", b'{"uri":%b}' % jsonrpc.encode(uri))
                asyncio.get_running_loop().call_later(_BEGINS_S, left.cancel)
            except Unavailable:
                return  # The channel is full or going: it takes its subscriptions with it.


def begin(ear: Ear, began: Callable[[], None]) -> None:
    """Raises Unavailable where the server tells of nothing that was asked for."""
    if ear.kept is None or ear.kept.nothing:
        raise unavailable("tells of nothing that was asked for")
    began()


def ended_by(answer: Raw) -> Unavailable:
    """The server's own end of a subscription: what happens from here on is unknown."""
    if answer.error:
        code, message = jsonrpc.error_code(answer.error), jsonrpc.error_message(answer.error)
        return unavailable(f"does not let itself be listened to: {code} {message}")
    return unavailable("ended the subscription")
