"""Streams that outlive any request: news of a server over HTTP, in either era."""

import asyncio
from collections.abc import Callable

from core.call import Interest, Notify, Route
from data_plane.upstreams import interests, jsonrpc, legacy, params
from data_plane.upstreams.duplex_watch import begin, ended_by, within_s
from data_plane.upstreams.errands import Errands
from data_plane.upstreams.failure import unavailable
from data_plane.upstreams.interests import Ear
from data_plane.upstreams.jsonrpc import Message, NotMcpError
from data_plane.upstreams.modern import own_headers
from data_plane.upstreams.sessions import Session, end, initialize, tell
from data_plane.upstreams.sse import Event
from data_plane.upstreams.stream import Stream, message_of
from data_plane.upstreams.upstream import Upstream

_RETRY_MS, _LONGEST_RETRY_MS = 1000, 30_000
_SHORT_S, _SHORT_STREAMS = 1.0, 5
"""Streams in a row that end at once and bring nothing."""

Began = Callable[[], None]


async def modern(upstream: Upstream, route: Route, interest: Interest, tell_of: Notify, began: Began) -> None:
    """`subscriptions/listen`. Raises Unavailable."""
    ear = Ear(interest, tell_of)
    request_id = next(upstream.ids)
    sent = params.own("modern", interests.listen_members(interest), interests.capabilities(interest))
    body = jsonrpc.request(request_id, "subscriptions/listen", sent)
    answered: list[Message] = []

    def hear(event: Event) -> None:
        message = message_of(event)
        if message is None:
            return
        if message.method is None:
            answered.append(message)
            ear.acknowledged.set()
            return
        if message.id is None and interests.subscription(message) in (None, request_id):
            ear.hear(message)

    stream = Stream(hear)
    request = upstream.post(route.headers, own_headers("subscriptions/listen"), body)
    try:
        stream.connection = await upstream.open_stream(request, stream, _soon(upstream, route))
        await stream.opened
        stream.ended.add_done_callback(lambda _: ear.acknowledged.set())
        await ear.acknowledged.wait()
        if answered:
            raise ended_by(jsonrpc.answer_of(answered[0], 0))
        if ear.kept is None:
            raise unavailable(await stream.ended)
        begin(ear, began)
        raise unavailable(await stream.ended)
    except NotMcpError as failure:
        raise unavailable(str(failure)) from failure
    finally:
        stream.close()


async def handshake(  # noqa: PLR0917 - as `modern`, and who tells the server of the end.
    upstream: Upstream, route: Route, interest: Interest, tell_of: Notify, began: Began, errands: Errands
) -> None:
    """A session of its own, since a server gives a session one stream; ended with it. Raises Unavailable."""
    session = await initialize(upstream, route, b"{}", _soon(upstream, route))
    try:
        await _tell_of(session, route, Ear(interest, tell_of), began, errands)
    finally:
        end(session, errands)


class Following:
    """The GET stream of a session, taken up again for as long as the server tells where."""

    def __init__(self, session: Session, route: Route, hear: Callable[[Message], None]) -> None:
        """`hear` gets what is no answer: nothing was asked on this stream. It may raise NotMcpError."""
        self._session = session
        self._route = route
        self._hear = hear
        self._stream: Stream | None = None
        self._short = 0

    async def open(self, last_id: str = "") -> None:
        """Raises Unavailable, TimeoutError."""
        upstream = self._session.upstream
        own = b"Accept: text/event-stream\r\n" + self._session.own
        if last_id:
            own += b"Last-Event-ID: %b\r\n" % legacy.header_value(last_id)
        request = upstream.bodiless(b"GET", self._route.headers, own)
        stream = self._stream = Stream(self._event, last_id)
        async with asyncio.timeout(within_s(self._route)):
            stream.connection = await upstream.open_stream(request, stream, _soon(upstream, self._route))
            await stream.opened

    async def lost(self) -> str:
        """Once the stream is over and cannot be taken up where it was: why. Raises Unavailable, TimeoutError."""
        while True:
            assert self._stream is not None
            why = await self._rest(self._stream)
            last_id, retry_ms = self._stream.events.last_id, self._stream.events.retry_ms
            if not last_id or self._short >= _SHORT_STREAMS:
                return why
            await asyncio.sleep(min(_RETRY_MS if retry_ms is None else retry_ms, _LONGEST_RETRY_MS) / 1000)
            await self.open(last_id)

    @property
    def connected(self) -> bool:
        """Holds a connection."""
        stream = self._stream
        return stream is not None and stream.connection is not None and stream.connection.carries(stream)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    async def _rest(self, stream: Stream) -> str:
        loop = asyncio.get_running_loop()
        began, first = loop.time(), stream.events.last_id
        why = await stream.ended
        brief = loop.time() - began < _SHORT_S and stream.events.last_id == first
        self._short = self._short + 1 if brief else 0
        return why

    def _event(self, event: Event) -> None:
        message = message_of(event)
        if message is not None and message.method is not None:
            self._hear(message)


async def _tell_of(session: Session, route: Route, ear: Ear, began: Began, errands: Errands) -> None:
    def hear(message: Message) -> None:
        if message.id is None:
            ear.hear(message)
        else:
            tell(session, jsonrpc.reply_to(message), errands)

    following = Following(session, route, hear)
    ear.kept = interests.subscribed(ear.interest, ())  # News may come with the first bytes.
    try:
        await following.open()
        taken = await _subscribed(session, route, ear.interest.resources, errands)
        ear.keep(interests.subscribed(ear.interest, taken))
        begin(ear, began)
        raise unavailable(await following.lost())
    finally:
        following.close()


async def _subscribed(session: Session, route: Route, uris: tuple[str, ...], errands: Errands) -> tuple[str, ...]:
    """What the server does not know it does not tell of, and the rest it does."""
    taken: list[str] = []
    for uri in uris:
        sent = b'{"uri":%b}' % jsonrpc.encode(uri)
        soon = _soon(session.upstream, route)
        answer = await legacy.ask(session, route, "resources/subscribe", sent, soon, errands)
        if not answer.error:
            taken.append(uri)
    return tuple(taken)


def _soon(upstream: Upstream, route: Route) -> float:
    return upstream.loop.time() + within_s(route)
