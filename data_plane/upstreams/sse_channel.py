"""HTTP+SSE, as of 2024-11-05: answers come on one event stream, whose first event says where to POST."""

import asyncio
from collections.abc import Coroutine
from urllib.parse import urljoin

import msgspec

from core.call import Route
from core.errors import Unavailable
from data_plane.outbox import Outbox
from data_plane.upstreams.address import Resolver
from data_plane.upstreams.duplex import Duplex
from data_plane.upstreams.failure import overloaded, unavailable
from data_plane.upstreams.jsonrpc import NotMcpError
from data_plane.upstreams.remote import Place
from data_plane.upstreams.sse import Event
from data_plane.upstreams.stream import Stream
from data_plane.upstreams.target import Target, target_of
from data_plane.upstreams.upstream import Upstream

_ENVELOPE_BYTES = 64 * 1024
_LONGEST_URL = 4096
_POSTS = 4096
"""Under way at once."""
_POST_S = 30.0
_CONTENT = b"Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"


async def connect(place: Place, route: Route, resolver: Resolver) -> "SseChannel":
    """An open one, whose server has said where to POST. Raises Unavailable."""
    channel = SseChannel(place, route, resolver)
    try:
        await channel.open()
    except BaseException:
        channel.abort()
        raise
    return channel


class SseChannel:
    """A `Channel`."""

    def __init__(self, place: Place, route: Route, resolver: Resolver) -> None:
        self.duplex = Duplex(self._write)
        self._loop = asyncio.get_running_loop()
        self._place = place
        self._route = route
        self._resolver = resolver
        self._outbox = Outbox(self._loop)
        self._getting = Upstream(route.backend, place.transport, resolver, self._outbox)
        self._posting: Upstream | None = None
        self._stream = Stream(self._hear)
        self._stream.on_overlong = lambda: self.duplex.overlong(None)
        self._endpoint: asyncio.Future[None] = self._loop.create_future()
        self._posts: set[asyncio.Task[None]] = set()

    @property
    def unread_bytes(self) -> int:
        return 0

    async def open(self) -> None:
        """Raises Unavailable."""
        request = self._getting.bodiless(b"GET", self._route.headers, b"Accept: text/event-stream\r\n")
        deadline = self._loop.time() + self._route.deadline_s
        self._stream.ended.add_done_callback(lambda ended: self._over(ended.result()))
        self._stream.connection = await self._getting.open_stream(request, self._stream, deadline)
        await self._stream.opened
        await self._endpoint

    async def flushed(self) -> None:
        """Once all that was said so far has arrived, or failed to."""
        while self._posts:
            await asyncio.wait(self._posts)

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._over("is not needed any more")

    def _over(self, why: str) -> None:
        self._lost(why)
        self._stream.close()
        for post in self._posts:
            post.cancel()
        for upstream in (self._getting, self._posting):
            if upstream is not None:
                upstream.abort()

    # What comes.

    def _hear(self, event: Event) -> None:
        """Raises NotMcpError, which ends the stream."""
        if event.event == b"endpoint" and not self._endpoint.done():
            self._told(event.data)
        elif event.event == b"message" and event.data:
            self._stream.events.max_bytes = max(self._stream.events.max_bytes, self.duplex.max_bytes + _ENVELOPE_BYTES)
            self.duplex.heard(event.data)

    def _told(self, said: bytes) -> None:
        """Only where the stream is from: anywhere else the credentials would go with the message."""
        try:
            url = urljoin(self._place.transport.url, said.decode("ascii"))
            there = target_of(url)
        except (ValueError, Unavailable) as failure:
            raise NotMcpError("names an endpoint that cannot be used") from failure
        if len(url) > _LONGEST_URL or _origin(there) != _origin(self._place.target):
            raise NotMcpError("names an endpoint at another origin than its own")
        transport = msgspec.structs.replace(self._place.transport, url=url)
        self._posting = Upstream(self._route.backend, transport, self._resolver, self._outbox)
        self._endpoint.set_result(None)

    def _lost(self, why: str) -> None:
        if not self._endpoint.done():
            self._endpoint.set_exception(unavailable(why))
            self._endpoint.exception()  # Retrieved: it may be that nobody waits any more.
        self.duplex.fail(why)

    # What is said.

    def _write(self, message: bytes, request_id: int | None = None) -> None:
        posting = self._posting
        if len(self._posts) >= _POSTS or posting is None:
            if request_id is not None:
                raise overloaded(f"{_POSTS} messages are on their way to it")
            return
        self._stream.events.max_bytes = max(self._stream.events.max_bytes, self.duplex.max_bytes + _ENVELOPE_BYTES)
        # What gets no answer may take something back, so it does not overtake what was said before.
        before = set() if request_id is not None else set(self._posts)
        self._keep(self._post(posting, message, request_id, before))

    def _keep(self, post: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(post)
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)

    async def _post(
        self, posting: Upstream, message: bytes, request_id: int | None, before: "set[asyncio.Task[None]]"
    ) -> None:
        request = posting.post(self._route.headers, _CONTENT, message)
        try:
            async with asyncio.timeout(_POST_S):
                if before:
                    await asyncio.wait(before)
                status = await posting.acknowledge(request, self._loop.time() + _POST_S)
        except TimeoutError:
            failure = unavailable(f"does not take a message within {_POST_S:g} s")
        except Unavailable as lost:
            failure = lost
        else:
            if status < 400:
                return
            failure = unavailable(f"does not take a message: HTTP {status}")
            if status in (404, 410):
                self._stream.close()  # It has forgotten who this is.
        if request_id is not None:
            self.duplex.undelivered(request_id, failure)


def _origin(target: Target) -> tuple[bool, str, int]:
    return target.secure, target.host.lower(), target.port
