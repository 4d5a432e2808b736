"""`ToolBackend` for servers that are spoken to on one lasting channel: WebSocket, and HTTP+SSE."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from core.bound import Bound, Hits
from core.call import Ask, Interest, Notify, Outgoing, Raw, Route
from core.errors import Unavailable
from core.server import Remote
from data_plane.upstreams import declared, duplex_watch, jsonrpc
from data_plane.upstreams.address import Resolver
from data_plane.upstreams.breaker import Breaker
from data_plane.upstreams.deadlines import Deadlines
from data_plane.upstreams.duplex import Duplex
from data_plane.upstreams.failure import NotSentError, not_sent, overloaded, timed_out, unavailable, unsent
from data_plane.upstreams.greeting import Greeting
from data_plane.upstreams.remote import Place
from data_plane.upstreams.shared import shared
from data_plane.upstreams.upstream import ConfiguredHeaders

MAX_SERVERS = 4096
MAX_CHANNELS = 64
"""Of one server, if its `max_connections` is not less."""
_IDLE_S = 300.0
_SWEEP_S = 15.0
_OPEN_S = 30.0
_DISCOVER_S = 5.0
_LEAVING_S = 600.0

Key = tuple[ConfiguredHeaders, bytes | None]
"""What a channel may be shared by: one credential, one set of capabilities; None: modern, told with each request."""


class Channel(Protocol):
    """An open way to a server. Its `duplex` fails when it is gone."""

    duplex: Duplex

    def close(self) -> None: ...

    def abort(self) -> None: ...

    async def flushed(self) -> None:
        """Once what was said so far is sure to come before what is said next."""
        ...


Connect = Callable[[Place, Route, Resolver], Awaitable[Channel]]


class _Server:
    """What is kept of one server."""

    def __init__(self, transport: Remote) -> None:
        self.transport = transport
        self.place = Place(transport)
        self.breaker = Breaker()
        self.open: dict[Key, asyncio.Task[Channel]] = {}
        self.last_used = 0.0

    def channels(self) -> Iterator[tuple[Key, Channel]]:
        for key, opening in list(self.open.items()):
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                yield key, opening.result()


class ChannelBackend:
    """Keeps channels per (tenant, server), shared by calls. Belongs to one loop; `close` it there."""

    def __init__(
        self, transport: type[Remote], connect: Connect, *, modern: bool, resolver: Resolver | None = None
    ) -> None:
        """`modern`: whether the transport exists in that era."""
        self._transport = transport
        self._connect = connect
        self._modern = modern
        self._resolver = resolver or Resolver()
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        self._known: dict[tuple[str, str], _Server] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._full = Hits()

    async def call(self, route: Route, outgoing: Outgoing, notify: Notify, ask: Ask | None = None) -> Raw:
        if route.backend.era is None:
            raise unavailable("has not been looked at yet, so it is not known how to speak to it")
        key = self._key(route, None if route.backend.era == "modern" else _told(outgoing, ask))
        try:
            with self._deadlines.until(self._loop.time() + route.deadline_s) as clock:
                channel = await self._channel(route, key)
                try:
                    raw = await channel.duplex.call(route, outgoing, notify, ask, clock)
                except NotSentError:
                    # It was lost between calls, so the server has not seen this one.
                    channel = await self._channel(route, key)
                    raw = await channel.duplex.call(route, outgoing, notify, ask, clock)
        except TimeoutError as late:
            raise timed_out(route.deadline_s) from late
        return raw

    async def watch(self, route: Route, interest: Interest, tell: Notify, *, began: Callable[[], None]) -> None:
        """`core.call.Watchable`."""
        key = self._key(route, None if route.backend.era == "modern" else b"{}")
        try:
            async with asyncio.timeout(duplex_watch.within_s(route)) as limit:

                def has_begun() -> None:
                    limit.reschedule(None)
                    began()

                channel = await self._channel(route, key)
                await duplex_watch.watch(channel.duplex, interest, tell, has_begun)
        except TimeoutError as late:
            raise timed_out(route.deadline_s) from late

    async def greet(self, route: Route) -> Greeting:
        """Ask the server what it is. Raises Unavailable, at `route.deadline_s` too."""
        wanted = route.backend.declared
        try:
            async with asyncio.timeout(route.deadline_s):
                found = await self._discovered(route) if self._modern and wanted != "legacy" else None
                if found is not None:
                    return found
                if wanted == "modern":
                    raise unavailable("is declared modern, and does not serve revision 2026-07-28")
                channel = await self._channel(route, self._key(route, b"{}"))
        except TimeoutError as late:
            raise timed_out(route.deadline_s) from late
        assert channel.duplex.greeting is not None
        return channel.duplex.greeting

    async def _discovered(self, route: Route) -> Greeting | None:
        """None: not modern, and the channel is closed, since the first request may settle its era."""
        key = self._key(route, None)
        channel = await self._channel(route, key)
        found = None
        try:
            async with asyncio.timeout(min(_DISCOVER_S, route.deadline_s / 2)):
                found = await channel.duplex.discover()
        except (TimeoutError, NotSentError):
            return None
        except Unavailable:
            if not channel.duplex.down.is_set():
                raise
            return None  # Some hang up on what they do not know.
        finally:
            if found is None:
                self._drop(route, key, channel)
        return found

    async def ask(self, route: Route, greeting: Greeting, method: str, members: bytes) -> Raw:
        """A request besides tools/call. `members`: of params, each with a comma after it. Raises Unavailable."""
        try:
            async with asyncio.timeout(route.deadline_s):
                channel = await self._channel(route, self._key(route, None if greeting.era == "modern" else b"{}"))
                return await channel.duplex.request(method, members, route.backend.max_result_bytes)
        except TimeoutError as late:
            raise timed_out(route.deadline_s) from late

    @property
    def bound(self) -> Bound:
        """Of channels, of all servers together."""
        servers = self._known.values()
        return Bound(sum(len(server.open) for server in servers), sum(map(_cap, servers)), self._full.count)

    def retire(self, tenant: str, server: str) -> None:
        """The server is gone or its settings changed: calls under way finish, nothing else is kept."""
        known = self._known.pop((tenant, server), None)
        for opening in list(known.open.values()) if known is not None else []:
            if not opening.done():
                opening.cancel()
        for _, channel in known.channels() if known is not None else ():
            leaving = self._loop.create_task(_leave(channel))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Close all channels. Calls under way fail."""
        if self._sweep is not None:
            self._sweep.cancel()
        opening = [task for server in self._known.values() for task in server.open.values()]
        for server in self._known.values():
            for _, channel in server.channels():
                channel.abort()
        self._known.clear()
        for task in (*opening, *self._leaving):
            task.cancel()
        await asyncio.gather(*opening, *self._leaving, return_exceptions=True)
        self._resolver.close()

    # From a route to a channel.

    def _key(self, route: Route, capabilities: bytes | None) -> Key:
        if capabilities is None and not self._modern:
            raise unavailable("is said to be modern, on a transport that era does not have")
        return route.headers, capabilities

    async def _channel(self, route: Route, key: Key) -> Channel:
        """Open and greeted. Raises Unavailable; NotSentError among them, as nothing was asked yet."""
        server = self._reach(route)
        opening = server.open.get(key)
        if opening is None or _is_over(opening):
            self._make_room(server)
            wait_s = server.breaker.wait_s(self._loop.time())
            if wait_s:
                raise unsent("the last attempts to connect failed: not trying for a moment", retry_after_s=wait_s)
            opening = server.open[key] = self._loop.create_task(self._start(server, route, key))
            opening.add_done_callback(lambda done: _forget_failure(server, key, done))
        try:
            return await shared(opening)
        except Unavailable as failure:
            raise not_sent(failure) from failure

    async def _start(self, server: _Server, route: Route, key: Key) -> Channel:
        channel: Channel | None = None
        try:
            async with asyncio.timeout(_OPEN_S):
                channel = await self._connect(server.place, route, self._resolver)
                if key[1] is None:
                    channel.duplex.greeting = Greeting(era="modern", revision=jsonrpc.MODERN)
                else:
                    await channel.duplex.initialize(key[1])
                    await channel.flushed()
        except BaseException as failure:
            if channel is not None:
                channel.abort()
            if isinstance(failure, TimeoutError):
                server.breaker.failed(self._loop.time())
                raise unavailable(f"was not ready within {_OPEN_S:g} s") from failure
            if isinstance(failure, Unavailable):
                server.breaker.failed(self._loop.time())
            raise
        server.breaker.succeeded()
        return channel

    def _reach(self, route: Route) -> _Server:
        transport = route.backend.transport
        if not isinstance(transport, self._transport):
            raise unavailable("is not reached over this transport")
        key = (route.tenant, route.backend.server)
        known = self._known.get(key)
        if known is None or known.transport != transport:
            self.retire(*key)
            self._make_room_for_server()
            known = self._known[key] = _Server(transport)
        known.last_used = self._loop.time()
        if self._sweep is None:
            self._sweep = self._loop.call_later(_SWEEP_S, self._expire)
        return known

    def _make_room_for_server(self) -> None:
        if len(self._known) < MAX_SERVERS:
            return
        self._full.count += 1
        idle = [key for key, server in self._known.items() if all(_idle(c) for _, c in server.channels())]
        if not idle:
            raise overloaded(f"{MAX_SERVERS} servers are in use at once")
        self.retire(*min(idle, key=lambda key: self._known[key].last_used))

    def _make_room(self, server: _Server) -> None:
        if len(server.open) < _cap(server):
            return
        self._full.count += 1
        idle = [(channel.duplex.last_used, key, channel) for key, channel in server.channels() if _idle(channel)]
        if not idle:
            raise overloaded(f"all {_cap(server)} channels to it are in use")
        _, key, channel = min(idle, key=lambda entry: entry[0])
        del server.open[key]
        channel.close()

    def _drop(self, route: Route, key: Key, channel: Channel) -> None:
        server = self._known.get((route.tenant, route.backend.server))
        if server is not None and any(kept is channel for _, kept in server.channels()):
            del server.open[key]
        channel.close()

    def _expire(self) -> None:
        now = self._loop.time()
        for name, server in list(self._known.items()):
            for key, channel in server.channels():
                if _idle(channel) and now - channel.duplex.last_used > _IDLE_S:
                    del server.open[key]
                    channel.close()
            if not server.open and now - server.last_used > _IDLE_S:
                del self._known[name]
        self._sweep = self._loop.call_later(_SWEEP_S, self._expire) if self._known else None


def _told(outgoing: Outgoing, ask: Ask | None) -> bytes:
    return declared.carried(outgoing.capabilities, asked=ask is not None)


def _cap(server: _Server) -> int:
    return min(server.transport.max_connections, MAX_CHANNELS)


def _idle(channel: Channel) -> bool:
    return not channel.duplex.in_flight and not channel.duplex.ears


def _is_over(opening: "asyncio.Task[Channel]") -> bool:
    if not opening.done():
        return False
    return opening.cancelled() or opening.exception() is not None or opening.result().duplex.down.is_set()


def _forget_failure(server: _Server, key: Key, done: "asyncio.Task[Channel]") -> None:
    if (done.cancelled() or done.exception() is not None) and server.open.get(key) is done:
        del server.open[key]


async def _leave(channel: Channel) -> None:
    """Once its calls are done; who listens hears at once that it is over."""
    channel.duplex.hush()
    try:
        async with asyncio.timeout(_LEAVING_S):
            await channel.duplex.idle.wait()
    except TimeoutError:
        pass
    finally:
        channel.close()
