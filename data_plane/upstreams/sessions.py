"""Sessions with a server of the handshake era: opened once, shared by many calls, ended when nobody needs them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Protocol

from core.bound import Hits
from core.call import Raw, Route
from data_plane.upstreams import declared, jsonrpc
from data_plane.upstreams.answer import Answer
from data_plane.upstreams.errands import Errands
from data_plane.upstreams.failure import overloaded, unavailable
from data_plane.upstreams.greeting import Greeting, from_initialize
from data_plane.upstreams.jsonrpc import Listener, Message
from data_plane.upstreams.questions import Asked, Elicited
from data_plane.upstreams.shared import shared
from data_plane.upstreams.upstream import ConfiguredHeaders, Upstream

CONTENT: Final = b"Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
MAX_SESSIONS = 64
ERRAND_S = 5.0
_OPEN_S = 30.0
_GREETING_BYTES = 1024 * 1024

Key = tuple[ConfiguredHeaders, bytes]
"""What a session may be shared by: one credential, one set of capabilities (tenant and server are the Upstream's)."""


class InCall(Asked, Protocol):
    """A call under way, as one hears of it beside its own stream."""

    def note(self, message: Message) -> None:
        """Progress, or a log message. Raises NotMcpError."""
        ...


class Beside(Protocol):
    """What listens beside the calls of a session: see `beside`."""

    @property
    def connected(self) -> bool:
        """Holds a connection."""
        ...

    def close(self) -> None: ...


class Session:
    """An open conversation. `own`: the header lines that name it."""

    def __init__(self, upstream: Upstream, greeting: Greeting, headers: ConfiguredHeaders, session_id: bytes) -> None:
        self.upstream = upstream
        self.greeting = greeting
        self.headers = headers
        self.id = session_id
        self.in_use = 0
        self.last_used = 0.0
        self.log_level = ""
        self.calls: dict[int, InCall] = {}
        """Under way, by id, where the server may speak of them beside their own streams."""
        self.askable = False
        """Its callers declared something they can be asked: then its calls are kept in `calls`."""
        self.beside: Beside | None = None
        self.elicited = Elicited()
        # The header came with 2025-06-18; older servers do not know it, and it does them no harm.
        self.own = b"MCP-Protocol-Version: %b\r\n" % greeting.revision.encode()
        if session_id:
            self.own += b"Mcp-Session-Id: %b\r\n" % session_id


Listen = Callable[[Session, Route], Awaitable["Beside | None"]]
"""Begins to listen beside a session's calls; None: the server tells nothing there. Never raises."""


class Sessions:
    """Of one upstream. A session is opened by the first call that needs it; the others wait for the same opening."""

    def __init__(
        self, upstream: Upstream, errands: Errands, full: Hits | None = None, listen: "Listen | None" = None
    ) -> None:
        """`full`: counts sessions ended, or calls refused, for want of room. `listen`: to what is said beside calls."""
        self._listen = listen
        self.upstream = upstream
        self._full = full or Hits()
        self.errands = errands
        self.stateful: bool | None = None
        """Whether the server gives its sessions ids; None: none was opened yet."""
        self._open: dict[Key, asyncio.Task[Session]] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def besides(self) -> int:
        """Connections on which nothing is under way: they only hear what is said beside calls."""
        return sum(session.beside is not None and session.beside.connected for session in self._ready())

    async def get(self, route: Route, capabilities: bytes) -> Session:
        """`capabilities`: see `declared.carried`. Raises Unavailable, also when opening fails; the next call tries
        again.
        """
        key = (route.headers, capabilities)
        opening = self._open.get(key)
        if opening is None or (opening.done() and (opening.cancelled() or opening.exception() is not None)):
            self._make_room()
            opening = asyncio.get_running_loop().create_task(self._start(route, key))
            self._open[key] = opening
            opening.add_done_callback(lambda done: self._forget_failure(key, done))
        return await shared(opening)

    def known(self, route: Route, capabilities: bytes) -> Session | None:
        """One that is open, without opening one."""
        opening = self._open.get((route.headers, capabilities))
        return None if opening is None else _opened(opening)

    def drop(self, session: Session) -> None:
        """The server does not know it any more."""
        for key, opening in list(self._open.items()):
            if _holds(opening, session):
                del self._open[key]
                _hush(session)

    def expire(self, idle_since: float) -> None:
        """End the sessions unused since then."""
        for key, session in list(self._idle()):
            if session.last_used <= idle_since:
                del self._open[key]
                self._end(session)

    def close(self) -> None:
        for opening in self._open.values():
            if not opening.done():
                opening.cancel()
        self.expire(float("inf"))
        for session in self._ready():
            _hush(session)
        self._open.clear()

    def _ready(self) -> Iterator[Session]:
        yield from filter(None, map(_opened, self._open.values()))

    def _idle(self) -> Iterator[tuple[Key, Session]]:
        for key, opening in self._open.items():
            session = _opened(opening)
            if session is not None and not session.in_use:
                yield key, session

    def _make_room(self) -> None:
        if len(self._open) < MAX_SESSIONS:
            return
        self._full.count += 1
        oldest = min(self._idle(), key=lambda entry: entry[1].last_used, default=None)
        if oldest is None:
            raise overloaded(f"all {MAX_SESSIONS} sessions are in use")
        del self._open[oldest[0]]
        self._end(oldest[1])

    def _end(self, session: Session) -> None:
        end(session, self.errands)

    def _forget_failure(self, key: Key, opening: asyncio.Task[Session]) -> None:
        if (opening.cancelled() or opening.exception() is not None) and self._open.get(key) is opening:
            del self._open[key]

    async def _start(self, route: Route, key: Key) -> Session:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_OPEN_S):
                session = await initialize(self.upstream, route, key[1], loop.time() + _OPEN_S)
                session.askable = declared.askable(key[1])
                if self._listen is not None:
                    session.beside = await self._listen(session, route)
        except TimeoutError as late:
            raise unavailable(f"did not answer initialize within {_OPEN_S:g} s") from late
        session.last_used = loop.time()
        self.stateful = bool(session.id)
        return session


def end(session: Session, errands: Errands) -> None:
    """Tell the server, if it gave the session a name."""
    _hush(session)
    if session.id:
        request = session.upstream.bodiless(b"DELETE", session.headers, session.own)
        errands.run(session.upstream.acknowledge(request, session.upstream.loop.time() + ERRAND_S))


def _hush(session: Session) -> None:
    if session.beside is not None:
        session.beside.close()


def tell(session: Session, body: bytes, errands: Errands) -> None:
    """What gets no answer, in its session."""
    upstream = session.upstream
    request = upstream.post(session.headers, CONTENT + session.own, body)
    errands.run(upstream.acknowledge(request, upstream.loop.time() + ERRAND_S))


def _opened(opening: asyncio.Task[Session]) -> Session | None:
    """None while it is under way, and where it failed."""
    well = opening.done() and not opening.cancelled() and opening.exception() is None
    return opening.result() if well else None


def _holds(opening: asyncio.Task[Session], session: Session) -> bool:
    done = opening.done() and not opening.cancelled() and opening.exception() is None
    return done and opening.result() is session


async def initialize(upstream: Upstream, route: Route, capabilities: bytes, deadline: float) -> Session:
    """A session nobody shares yet. `capabilities`: see `declared.carried`. Raises Unavailable."""
    request_id = next(upstream.ids)
    body = jsonrpc.request(request_id, "initialize", jsonrpc.initialize_params(capabilities))
    answer = Answer(request_id, _GREETING_BYTES, Listener(None, ""), lambda _: None)
    outcome = await upstream.exchange(upstream.post(route.headers, CONTENT, body), answer, deadline)
    assert isinstance(outcome, Raw)  # Outside a session it cannot be gone, nor its stream taken up.
    greeting = from_initialize(outcome)
    session_id = answer.headers.get(b"mcp-session-id", b"")
    if any(not 0x21 <= b <= 0x7E for b in session_id):
        raise unavailable("sends a session id with characters that no session id may have")
    session = Session(upstream, greeting, route.headers, session_id)
    started = upstream.post(route.headers, CONTENT + session.own, jsonrpc.notification("notifications/initialized"))
    await upstream.acknowledge(started, deadline)
    return session
