"""Requests to a server of the handshake era: sessions opened once and shared by many calls, streams taken up again."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Final

from core.bound import Hits
from core.call import Ask, Notify, Outgoing, Raw, Route
from core.errors import Unavailable
from data_plane.upstreams import declared, jsonrpc, params, rounds
from data_plane.upstreams.answer import Answer, Outcome, SessionGone, StreamEnded
from data_plane.upstreams.deadlines import Deadline
from data_plane.upstreams.errands import Errands
from data_plane.upstreams.failure import not_sent, overloaded, unavailable
from data_plane.upstreams.greeting import Greeting, from_initialize
from data_plane.upstreams.jsonrpc import Listener, Message
from data_plane.upstreams.modern import trace_headers
from data_plane.upstreams.questions import Questions, withdrawn_id
from data_plane.upstreams.shared import shared
from data_plane.upstreams.upstream import ConfiguredHeaders, Upstream

_CONTENT: Final = b"Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
MAX_SESSIONS = 64
_OPEN_S = 30.0
_ERRAND_S = 5.0
_RESUMES = 5
"""Streams in a row that bring no new event."""
_RETRY_MS, _LONGEST_RETRY_MS = 1000, 30_000
_GREETING_BYTES = 1024 * 1024
_REPEATABLE: Final = frozenset(("prompts/get", "resources/read", "completion/complete"))
"""Doing them twice is doing them once."""

Key = tuple[ConfiguredHeaders, bytes]
"""What a session may be shared by: one credential, one set of capabilities (tenant and server are the Upstream's)."""


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
        # The header came with 2025-06-18; older servers do not know it, and it does them no harm.
        self.own = b"MCP-Protocol-Version: %b\r\n" % greeting.revision.encode()
        if session_id:
            self.own += b"Mcp-Session-Id: %b\r\n" % session_id


class Sessions:
    """Of one upstream. A session is opened by the first call that needs it; the others wait for the same opening."""

    def __init__(self, upstream: Upstream, errands: Errands, full: Hits | None = None) -> None:
        """`full`: counts sessions ended, or calls refused, for want of room."""
        self.upstream = upstream
        self._full = full or Hits()
        self.errands = errands
        self.stateful: bool | None = None
        """Whether the server gives its sessions ids; None: none was opened yet."""
        self._open: dict[Key, asyncio.Task[Session]] = {}

    def __len__(self) -> int:
        return len(self._open)

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

    def drop(self, session: Session) -> None:
        """The server does not know it any more."""
        for key, opening in list(self._open.items()):
            if _holds(opening, session):
                del self._open[key]

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
        self._open.clear()

    def _idle(self) -> Iterator[tuple[Key, Session]]:
        for key, opening in self._open.items():
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                session = opening.result()
                if not session.in_use:
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
        except TimeoutError as late:
            raise unavailable(f"did not answer initialize within {_OPEN_S:g} s") from late
        session.last_used = loop.time()
        self.stateful = bool(session.id)
        return session


def end(session: Session, errands: Errands) -> None:
    """Tell the server, if it gave the session a name."""
    if session.id:
        request = session.upstream.bodiless(b"DELETE", session.headers, session.own)
        errands.run(session.upstream.acknowledge(request, session.upstream.loop.time() + _ERRAND_S))


def tell(session: Session, body: bytes, errands: Errands) -> None:
    """What gets no answer, in its session."""
    upstream = session.upstream
    request = upstream.post(session.headers, _CONTENT + session.own, body)
    errands.run(upstream.acknowledge(request, upstream.loop.time() + _ERRAND_S))


def _holds(opening: asyncio.Task[Session], session: Session) -> bool:
    done = opening.done() and not opening.cancelled() and opening.exception() is None
    return done and opening.result() is session


async def initialize(upstream: Upstream, route: Route, capabilities: bytes, deadline: float) -> Session:
    request_id = next(upstream.ids)
    body = jsonrpc.request(request_id, "initialize", jsonrpc.initialize_params(capabilities))
    answer = Answer(request_id, _GREETING_BYTES, Listener(None, ""), lambda _: None)
    outcome = await upstream.exchange(upstream.post(route.headers, _CONTENT, body), answer, deadline)
    assert isinstance(outcome, Raw)  # Outside a session it cannot be gone, nor its stream taken up.
    greeting = from_initialize(outcome)
    session_id = answer.headers.get(b"mcp-session-id", b"")
    if any(not 0x21 <= b <= 0x7E for b in session_id):
        raise unavailable("sends a session id with characters that no session id may have")
    session = Session(upstream, greeting, route.headers, session_id)
    started = upstream.post(route.headers, _CONTENT + session.own, jsonrpc.notification("notifications/initialized"))
    await upstream.acknowledge(started, deadline)
    return session


async def call(  # noqa: PLR0917 - what a call has, in the port's order.
    sessions: Sessions, route: Route, outgoing: Outgoing, notify: Notify, ask: Ask | None, clock: Deadline
) -> Raw:
    """Any method. Raises Unavailable."""
    exchange = _Exchange(sessions, route, outgoing, notify, ask, clock)
    try:
        session = await exchange.session()
    except Unavailable as failure:
        raise not_sent(failure) from failure
    outcome = await exchange.run(session)
    if isinstance(outcome, SessionGone):
        # Not known means not looked at, or of a kind that may be: the one case in which a request may be sent twice.
        sessions.drop(session)
        outcome = await exchange.run(await exchange.session())
    if isinstance(outcome, Raw):
        return outcome if not outcome.error else rounds.as_result(outcome, outgoing)
    raise unavailable("forgets sessions as soon as it has opened them")


async def ask(session: Session, route: Route, method: str, sent: bytes, deadline: float) -> Raw:
    """A request of the gateway's own. Raises Unavailable."""
    upstream = session.upstream
    request_id = next(upstream.ids)
    body = jsonrpc.request(request_id, method, sent)
    answer = Answer(request_id, route.backend.max_result_bytes, Listener(None, ""), lambda _: None)
    request = upstream.post(route.headers, _CONTENT + session.own, body)
    outcome = await upstream.exchange(request, answer, deadline)
    if isinstance(outcome, Raw):
        return outcome
    raise unavailable(f"{method} got no answer")


class _Exchange:
    """One call in a session, from its POST to its answer, over as many streams as it takes."""

    def __init__(  # noqa: PLR0917 - as `call`.
        self,
        sessions: Sessions,
        route: Route,
        outgoing: Outgoing,
        notify: Notify,
        ask: Ask | None,
        clock: Deadline,
    ) -> None:
        self._sessions = sessions
        self._upstream = sessions.upstream
        self._route = route
        self._outgoing = outgoing
        self._notify = notify
        self._clock = clock
        self._ask = ask
        self._answer: Answer | None = None
        self._questions: Questions | None = None

    async def session(self) -> Session:
        """Open, and logging at least what the call wants. The level is the session's, so it is only ever lowered;
        what a call did not ask for is left out by its Listener.
        """
        told = declared.carried(self._outgoing.capabilities, asked=self._ask is not None)
        session = await self._sessions.get(self._route, told)
        level = self._outgoing.log_level
        if level and session.greeting.logs and jsonrpc.more_verbose(level, session.log_level):
            session.log_level = level
            lowered = b'{"level":%b}' % jsonrpc.encode(level)
            await ask(session, self._route, "logging/setLevel", lowered, self._clock.when)
        return session

    async def run(self, session: Session) -> Outcome:
        """Raw or SessionGone. Cancelled, it tells the server. Raises Unavailable."""
        request_id = next(self._upstream.ids)
        token = request_id if self._outgoing.wants_progress else None
        listener = Listener(token, self._outgoing.log_level)
        session.in_use += 1
        try:
            outcome = await self._post(session, request_id, token, listener)
            return await self._resumed(session, request_id, listener, outcome)
        finally:
            if self._questions is not None:
                questions, self._questions = self._questions, None
                await questions.close()
            session.in_use -= 1
            session.last_used = asyncio.get_running_loop().time()

    async def _post(self, session: Session, request_id: int, token: int | None, listener: Listener) -> Outcome:
        outgoing = self._outgoing
        if outgoing.members or outgoing.method != "tools/call":
            sent = params.of_call("legacy", self._route, outgoing, token)
        else:
            trace = jsonrpc.trace_members(outgoing.traceparent, outgoing.tracestate)
            meta = jsonrpc.meta(None, b"", token=token, trace=trace)
            sent = b'{"name":%b,"arguments":%b%b}' % (
                jsonrpc.encode(self._route.tool),
                outgoing.arguments or b"{}",
                b',"_meta":' + meta if len(meta) > 2 else b"",
            )
        own = _CONTENT + session.own + trace_headers(outgoing.traceparent, outgoing.tracestate)
        request = self._upstream.post(self._route.headers, own, jsonrpc.request(request_id, outgoing.method, sent))
        return await self._stream(session, request_id, request, listener, "")

    async def _stream(
        self, session: Session, request_id: int, request: bytes, listener: Listener, resumes: str
    ) -> Outcome:
        answer = Answer(
            request_id,
            self._route.backend.max_result_bytes,
            listener,
            self._notify,
            on_request=lambda message: self._asked(session, message),
            in_session=bool(session.id),
            resumes=resumes,
        )
        self._answer = answer
        try:
            return await self._upstream.exchange(request, answer, self._clock.when)
        except (asyncio.CancelledError, Unavailable):
            self._cancel(session, request_id, answer)
            raise

    async def _resumed(self, session: Session, request_id: int, listener: Listener, outcome: Outcome) -> Outcome:
        """Streamable HTTP, "Resumability": GET with the last event's id, after the pause the server asked for."""
        fruitless, last_id = 0, ""
        while isinstance(outcome, StreamEnded):
            fruitless = 0 if outcome.last_id != last_id else fruitless + 1
            last_id = outcome.last_id
            if fruitless >= _RESUMES:
                raise unavailable("its stream keeps ending before the answer comes")
            await self._pause(session, request_id, outcome.retry_ms)
            own = b"Accept: text/event-stream\r\n%bLast-Event-ID: %b\r\n" % (session.own, header_value(last_id))
            request = self._upstream.bodiless(b"GET", self._route.headers, own)
            outcome = await self._stream(session, request_id, request, listener, last_id)
            if isinstance(outcome, SessionGone) and self._outgoing.method not in _REPEATABLE:
                raise unavailable("the session ended while a call was running in it")
        return outcome

    async def _pause(self, session: Session, request_id: int, retry_ms: int | None) -> None:
        try:
            await asyncio.sleep(min(_RETRY_MS if retry_ms is None else retry_ms, _LONGEST_RETRY_MS) / 1000)
        except asyncio.CancelledError:
            self._tell(session, jsonrpc.cancelled(request_id, "the caller went away or its time is over"))
            raise

    def _cancel(self, session: Session, request_id: int, answer: Answer) -> None:
        """The notification cancels; the stream is then read to its end, which keeps the connection, or closed."""
        connection = answer.connection
        if connection is None:
            return  # Nothing was sent, or the answer is already here.
        self._tell(session, jsonrpc.cancelled(request_id, "the caller went away or its time is over"))
        if connection.carries(answer):
            # A full pool needs the place more: the notification itself may be waiting for it.
            connection.abandon() if self._upstream.pool.full else connection.drain()

    def _asked(self, session: Session, message: Message) -> None:
        """On the call's own stream, so it is about this call."""
        if message.id is None:
            if self._questions is not None:
                self._questions.withdrawn(withdrawn_id(message))
        elif self._ask is None or message.method not in declared.QUESTIONS:
            self._tell(session, jsonrpc.reply_to(message))
        else:
            if self._questions is None:
                said = declared.read(self._outgoing.capabilities)
                send = partial(self._reply, session)
                self._questions = Questions(self._ask, said, send, self._clock, self._give_up)
            self._questions.heard(message)

    def _reply(self, session: Session, body: bytes) -> None:
        self._sessions.errands.run(self._delivered(session, body))

    async def _delivered(self, session: Session, body: bytes) -> None:
        """A server that does not take the answer it asked for waits for ever: better fail the call."""
        request = self._upstream.post(self._route.headers, _CONTENT + session.own, body)
        try:
            status = await self._upstream.acknowledge(request, asyncio.get_running_loop().time() + _ERRAND_S)
        except Unavailable as failure:
            self._give_up(failure)
        else:
            if status >= 400:
                self._give_up(unavailable(f"does not take the answer to its question: HTTP {status}"))

    def _give_up(self, failure: BaseException) -> None:
        if self._answer is not None:
            self._answer.give_up(failure)

    def _tell(self, session: Session, body: bytes) -> None:
        tell(session, body, self._sessions.errands)


def header_value(event_id: str) -> bytes:
    """For `Last-Event-ID`. Raises Unavailable."""
    if any(not 0x20 <= ord(c) <= 0x7E for c in event_id):
        raise unavailable("sends event ids that no header can carry")
    return event_id.encode("ascii")
