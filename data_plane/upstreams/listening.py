"""Streams that outlive any request: news of a server over HTTP, in either era."""

import asyncio
from collections.abc import Callable

from core.call import Interest, Notify, Route
from data_plane.upstreams import interests, jsonrpc, legacy, params
from data_plane.upstreams.duplex_watch import begin, ended_by
from data_plane.upstreams.errands import Errands
from data_plane.upstreams.failure import unavailable
from data_plane.upstreams.interests import Ear
from data_plane.upstreams.jsonrpc import Message, NotMcpError
from data_plane.upstreams.legacy import Session
from data_plane.upstreams.modern import own_headers
from data_plane.upstreams.sse import Event
from data_plane.upstreams.stream import Stream, message_of
from data_plane.upstreams.upstream import Upstream

_RETRY_MS, _LONGEST_RETRY_MS = 1000, 30_000
_SHORT_S, _SHORT_STREAMS = 1.0, 5
"""Streams in a row that end at once and bring nothing."""

Began = Callable[[], None]


async def modern(upstream: Upstream, route: Route, interest: Interest, tell: Notify, began: Began) -> None:
    """`subscriptions/listen`. Raises Unavailable."""
    ear = Ear(interest, tell)
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
    upstream: Upstream, route: Route, interest: Interest, tell: Notify, began: Began, errands: Errands
) -> None:
    """A session of its own, since a server gives a session one stream; ended with it. Raises Unavailable."""
    session = await legacy.initialize(upstream, route, b"{}", _soon(upstream, route))
    try:
        await _Watch(session, route, Ear(interest, tell), errands).run(began)
    finally:
        legacy.end(session, errands)


class _Watch:
    """The GET stream of a session, taken up again for as long as the server tells where."""

    def __init__(self, session: Session, route: Route, ear: Ear, errands: Errands) -> None:
        self._session = session
        self._route = route
        self._ear = ear
        self._errands = errands
        self._short = 0

    async def run(self, began: Began) -> None:
        stream = Stream(self._hear)
        self._ear.kept = interests.subscribed(self._ear.interest, ())  # News may come with the first bytes.
        try:
            await self._open(stream)
            await self._subscribe()
            begin(self._ear, began)
            while True:
                why = await self._rest(stream)
                last_id, retry_ms = stream.events.last_id, stream.events.retry_ms
                if not last_id or self._short >= _SHORT_STREAMS:
                    raise unavailable(why)
                await asyncio.sleep(min(_RETRY_MS if retry_ms is None else retry_ms, _LONGEST_RETRY_MS) / 1000)
                stream = Stream(self._hear, last_id)
                await self._open(stream)
        finally:
            stream.close()

    async def _open(self, stream: Stream) -> None:
        upstream = self._session.upstream
        own = b"Accept: text/event-stream\r\n" + self._session.own
        if stream.events.last_id:
            own += b"Last-Event-ID: %b\r\n" % legacy.header_value(stream.events.last_id)
        request = upstream.bodiless(b"GET", self._route.headers, own)
        async with asyncio.timeout(self._route.deadline_s):
            stream.connection = await upstream.open_stream(request, stream, _soon(upstream, self._route))
            await stream.opened

    async def _rest(self, stream: Stream) -> str:
        loop = asyncio.get_running_loop()
        began, first = loop.time(), stream.events.last_id
        why = await stream.ended
        brief = loop.time() - began < _SHORT_S and stream.events.last_id == first
        self._short = self._short + 1 if brief else 0
        return why

    async def _subscribe(self) -> None:
        """What the server does not know it does not tell of, and the rest it does."""
        taken: list[str] = []
        for uri in self._ear.interest.resources:
            sent = b'{"uri":%b}' % jsonrpc.encode(uri)
            deadline = _soon(self._session.upstream, self._route)
            answer = await legacy.ask(self._session, self._route, "resources/subscribe", sent, deadline)
            if not answer.error:
                taken.append(uri)
        self._ear.keep(interests.subscribed(self._ear.interest, tuple(taken)))

    def _hear(self, event: Event) -> None:
        message = message_of(event)
        if message is None or message.method is None:
            return  # Nothing was asked on this stream.
        if message.id is None:
            self._ear.hear(message)
        else:
            legacy.tell(self._session, jsonrpc.reply_to(message), self._errands)


def _soon(upstream: Upstream, route: Route) -> float:
    return upstream.loop.time() + route.deadline_s
