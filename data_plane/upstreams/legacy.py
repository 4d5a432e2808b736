"""Requests to a server of the handshake era: in a session, on a stream that is taken up again when it breaks."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

from core.call import Ask, Notify, Outgoing, Raw, Route
from core.errors import Unavailable
from core.mcp.notifications import ELICITED
from data_plane.upstreams import declared, jsonrpc, params, rounds
from data_plane.upstreams.answer import Answer, Outcome, SessionGone, StreamEnded
from data_plane.upstreams.deadlines import Deadline
from data_plane.upstreams.declared import Declared
from data_plane.upstreams.errands import Errands
from data_plane.upstreams.failure import ChallengedError, ForgottenError, forgotten, not_sent, unavailable
from data_plane.upstreams.greeting import Greeting
from data_plane.upstreams.jsonrpc import Listener, Message
from data_plane.upstreams.modern import trace_headers
from data_plane.upstreams.questions import Questions, withdrawn_id
from data_plane.upstreams.sessions import CONTENT, ERRAND_S, Session, Sessions, tell

_RESUMES = 5
"""Streams in a row that bring no new event."""
_RETRY_MS, _LONGEST_RETRY_MS = 1000, 30_000
NOTHING: Final = b"{}"
"""What the gateway declares for itself, as JSON."""
_REPEATABLE: Final = frozenset(("prompts/get", "resources/read", "completion/complete"))
"""Doing them twice is doing them once."""


async def call(  # noqa: PLR0917 - what a call has, in the port's order.
    sessions: Sessions, route: Route, outgoing: Outgoing, notify: Notify, ask: Ask | None, clock: Deadline
) -> Raw:
    """Any method. Raises Unavailable."""
    exchange = Exchange(sessions, route, outgoing, notify, ask, clock)
    try:
        session = await exchange.session()
    except ChallengedError:
        raise
    except Unavailable as failure:
        raise not_sent(failure) from failure
    outcome = await exchange.run(session)
    if isinstance(outcome, SessionGone):
        # Not known means not looked at, or of a kind that may be: the one case in which a request may be sent twice.
        sessions.drop(session)
        outcome = await exchange.run(await exchange.session())
    if isinstance(outcome, Raw):
        return outcome if not outcome.error else rounds.translated(outcome, outgoing)
    raise unavailable("forgets sessions as soon as it has opened them")


async def ask(  # noqa: PLR0917 - as `call`.
    session: Session, route: Route, method: str, sent: bytes, deadline: float, errands: Errands
) -> Raw:
    """A request of the gateway's own, which answers no questions. Raises Unavailable; ForgottenError of a session."""

    def refused(message: Message) -> None:
        if message.id is not None:
            tell(session, jsonrpc.reply_to(message), errands)

    upstream = session.upstream
    request_id = next(upstream.ids)
    body = jsonrpc.request(request_id, method, sent)
    listener = Listener(None, "")
    most, kept = route.backend.max_result_bytes, bool(session.id)
    answer = Answer(request_id, most, listener, lambda _: None, on_request=refused, in_session=kept)
    request = upstream.post(route.headers, CONTENT + session.own, body)
    outcome = await upstream.exchange(request, answer, deadline)
    if isinstance(outcome, Raw):
        return outcome
    if isinstance(outcome, SessionGone):
        raise forgotten("does not know its session any more")
    raise unavailable(f"{method} got no answer")


async def greeted(sessions: Sessions, route: Route, deadline: float) -> Greeting:
    """What the server is now: of a session that it still knows, as it may be another one since. Raises Unavailable."""
    known = sessions.known(route, NOTHING)
    if known is not None:
        try:
            await ask(known, route, "ping", b"{}", deadline, sessions.errands)
        except ForgottenError:
            sessions.drop(known)
    return (await sessions.get(route, NOTHING)).greeting


class Exchange:
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
        self.principal = outgoing.principal
        self._session: Session
        self._listener: Listener
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
            errands = self._sessions.errands
            with suppress(ForgottenError):  # The call itself finds out, and opens another.
                await ask(session, self._route, "logging/setLevel", lowered, self._clock.when, errands)
        return session

    async def run(self, session: Session) -> Outcome:
        """Raw or SessionGone. Cancelled, it tells the server. Raises Unavailable."""
        request_id = next(self._upstream.ids)
        token = request_id if self._outgoing.wants_progress else None
        listener = Listener(token, self._outgoing.log_level)
        session.in_use += 1
        if session.askable:
            session.calls[request_id] = self
            self._session, self._listener = session, listener
        try:
            outcome = await self._post(session, request_id, token, listener)
            return await self._resumed(session, request_id, listener, outcome)
        finally:
            if self._questions is not None:
                questions, self._questions = self._questions, None
                await questions.close()
            if session.askable:
                session.calls.pop(request_id, None)
            session.in_use -= 1
            session.last_used = asyncio.get_running_loop().time()

    async def _post(self, session: Session, request_id: int, token: int | None, listener: Listener) -> Outcome:
        outgoing = self._outgoing
        if outgoing.members or outgoing.method != "tools/call":
            sent = params.of_call("legacy", self._route, outgoing, token)
        else:
            more = jsonrpc.of_caller(outgoing)
            meta = jsonrpc.meta(None, b"", token=token, more=more)
            sent = b'{"name":%b,"arguments":%b%b}' % (
                jsonrpc.encode(self._route.tool),
                outgoing.arguments or b"{}",
                b',"_meta":' + meta if len(meta) > 2 else b"",
            )
        own = CONTENT + session.own + trace_headers(outgoing.traceparent, outgoing.tracestate)
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

    # What the server says beside the call's own stream.

    @property
    def said(self) -> Declared:
        return declared.read(self._outgoing.capabilities)

    @property
    def asking(self) -> int:
        return len(self._questions) if self._questions is not None else 0

    def may_ask(self) -> bool:
        return self._ask is not None

    def hear(self, message: Message) -> None:
        """A question, or its withdrawal."""
        self._asked(self._session, message)

    def note(self, message: Message) -> None:
        """Progress or a log message. Raises NotMcpError."""
        note = self._listener.heard(message)
        if note is not None:
            self._notify(note)

    def _asked(self, session: Session, message: Message) -> None:
        """On the call's own stream, so it is about this call."""
        if message.method == ELICITED:
            session.elicited.complete(message)
        elif message.id is None:
            if self._questions is not None:
                self._questions.withdrawn(withdrawn_id(message))
        elif self._ask is None or message.method not in declared.QUESTIONS:
            self._tell(session, jsonrpc.reply_to(message))
        else:
            if self._questions is None:
                send = partial(self._reply, session)
                asked = partial(session.elicited.put, notify=self._notify)
                self._questions = Questions(self._ask, self.said, send, self._clock, self._give_up, asked)
            self._questions.heard(message)

    def _reply(self, session: Session, body: bytes) -> None:
        self._sessions.errands.run(self._delivered(session, body))

    async def _delivered(self, session: Session, body: bytes) -> None:
        """A server that does not take the answer it asked for waits for ever: better fail the call."""
        request = self._upstream.post(self._route.headers, CONTENT + session.own, body)
        try:
            status = await self._upstream.acknowledge(request, asyncio.get_running_loop().time() + ERRAND_S)
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
