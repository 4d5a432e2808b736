"""One channel that carries many calls, in both directions: told apart by id, sans-I/O.

For stdio, WebSocket and HTTP+SSE, in both eras. Whoever owns the channel gives a `Write`, hands what comes to `heard`,
and says `fail` at its end. Nothing here waits on the channel, opens it or closes it.

On such a channel a question of the server's, or a log message, does not say which call it belongs to. A question is put
to a call only where all calls that could be meant are of one caller: asking another one leaks.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Final, Protocol

from core.call import Ask, Era, Notify, Outgoing, Raw, Route
from core.mcp.notifications import ELICITED
from data_plane.upstreams import declared, interests, jsonrpc, params, rounds
from data_plane.upstreams.declared import Declared
from data_plane.upstreams.failure import overloaded, too_large, unavailable, unintelligible, unsent
from data_plane.upstreams.greeting import Greeting, contradicts_itself, from_discover, from_initialize
from data_plane.upstreams.interests import Ear
from data_plane.upstreams.jsonrpc import Listener, Message, NotMcpError, TooDeepError
from data_plane.upstreams.questions import Clock, Elicited, Id, Questions, Unhurried, attribute, withdrawn_id

_IN_FLIGHT = 4096
_OWN_BYTES = 1024 * 1024
"""Answers to what the gateway asks for itself: greetings, levels, subscriptions."""
_ASKED_ABOUT: Final = frozenset(("tools/call", "prompts/get", "resources/read"))
"""What a server may ask something about."""
_SILENT: Final = Listener(None, "")


class Write(Protocol):
    """Sends one message; never blocks. With `request_id` it may raise Unavailable; without, it drops what cannot go."""

    def __call__(self, message: bytes, request_id: int | None = None) -> None: ...


class _Pending:
    """A request that waits for its answer."""

    __slots__ = ("answer", "asked_about", "listener", "max_bytes", "notify", "principal", "questions", "said")

    def __init__(self, max_bytes: int) -> None:
        self.answer: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        self.max_bytes = max_bytes
        self.listener = _SILENT
        self.notify: Notify | None = None
        """None: a request of the gateway's own."""
        self.asked_about = False
        """A server may ask something about it."""
        self.principal = b""
        self.said = Declared()
        self.questions: Questions | None = None

    def fail(self, failure: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(failure)

    @property
    def asking(self) -> int:
        return len(self.questions) if self.questions is not None else 0

    def may_ask(self) -> bool:
        return self.questions is not None

    def hear(self, message: Message) -> None:
        assert self.questions is not None
        self.questions.heard(message)


class Duplex:
    """Belongs to one loop. `greeting` is set by `initialize`, or by whoever knows better; without one, nothing but the
    greeting itself may be asked.
    """

    def __init__(self, write: Write) -> None:
        self.greeting: Greeting | None = None
        self.log_level = ""
        self.max_bytes = _OWN_BYTES
        """What one message may hold: the most that any call, under way or before, allowed."""
        self.down = asyncio.Event()
        self.idle = asyncio.Event()
        """No request is under way."""
        self.idle.set()
        self.last_used = asyncio.get_running_loop().time()
        self.why_down = ""
        self.ears: dict[int, Ear] = {}
        """Who listens, by the id of the request that says so: see `duplex_watch`."""
        self._write = write
        self._ids = count(1)
        self._pending: dict[int, _Pending] = {}
        self._elicited = Elicited()

    @property
    def in_flight(self) -> int:
        return len(self._pending)

    @property
    def era(self) -> Era:
        assert self.greeting is not None
        return self.greeting.era

    # What the gateway wants to know for itself.

    async def discover(self) -> Greeting | None:
        """None: the server is not modern. Raises Unavailable."""
        sent = params.own("modern", b"")
        answer = await self.begin("server/discover", sent)
        return from_discover(await self.begin("server/discover", sent) if contradicts_itself(answer) else answer)

    async def initialize(self, capabilities: bytes) -> Greeting:
        """The handshake. `capabilities`: see `declared.carried`. Raises Unavailable."""
        self.greeting = from_initialize(await self.begin("initialize", jsonrpc.initialize_params(capabilities)))
        self.tell(jsonrpc.notification("notifications/initialized"))
        return self.greeting

    def begin(self, method: str, sent: bytes) -> "asyncio.Future[Raw]":
        """A request, by its params, whose answer is waited for later or not at all. Raises Unavailable."""
        pending, request_id = _Pending(_OWN_BYTES), self.next_id()
        self._post(request_id, method, sent, pending)
        pending.answer.add_done_callback(lambda _: self._finished(request_id))
        # Retrieved here, because of several answers perhaps only one is looked at.
        pending.answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return pending.answer

    async def request(
        self,
        method: str,
        members: bytes,
        max_bytes: int = _OWN_BYTES,
        *,
        capabilities: bytes = b"{}",
        id: int = 0,  # noqa: A002
    ) -> Raw:
        """`members`: of params besides `_meta`, each with a comma after it. `id`: of `next_id`. Raises Unavailable."""
        sent = params.own(self.era, members, capabilities)
        return await self._answered(id or self.next_id(), method, sent, _Pending(max_bytes))

    def tell(self, notification: bytes) -> None:
        self._write(notification)

    def next_id(self) -> int:
        return next(self._ids)

    # Calls.

    async def call(
        self, route: Route, outgoing: Outgoing, notify: Notify, ask: Ask | None = None, clock: Clock | None = None
    ) -> Raw:
        """`ToolBackend.call` without its deadline, which is `clock`. Cancelled, it tells the server."""
        await self._listen_from(outgoing.log_level)
        request_id = self.next_id()
        token = request_id if outgoing.wants_progress else None
        pending = _Pending(route.backend.max_result_bytes)
        pending.listener, pending.notify = Listener(token, outgoing.log_level), notify
        if self.era == "legacy" and outgoing.method in _ASKED_ABOUT:
            pending.asked_about, pending.principal = True, outgoing.principal
            pending.said = declared.read(outgoing.capabilities)
            if ask is not None:
                asked = partial(self._elicited.put, notify=notify)
                clock = clock or Unhurried()
                pending.questions = Questions(ask, pending.said, self._write, clock, pending.fail, asked)
        sent = params.of_call(self.era, route, outgoing, token)
        try:
            raw = await self._answered(request_id, outgoing.method, sent, pending)
            return rounds.translated(raw, outgoing) if raw.error and self.era == "legacy" else raw
        finally:
            if pending.questions is not None:
                await pending.questions.close()

    async def _listen_from(self, level: str) -> None:
        """A legacy level is the channel's, so it is only ever lowered."""
        greeting = self.greeting
        if level and greeting is not None and greeting.logs and jsonrpc.more_verbose(level, self.log_level):
            self.log_level = level
            await self.request("logging/setLevel", b'"level":%b,' % jsonrpc.encode(level))

    async def _answered(self, request_id: int, method: str, sent: bytes, pending: _Pending) -> Raw:
        self._post(request_id, method, sent, pending)
        try:
            return await pending.answer
        except asyncio.CancelledError:
            if self._pending.pop(request_id, None) is not None:
                self.tell(jsonrpc.cancelled(request_id, "the caller went away or its time is over"))
            raise
        finally:
            self._finished(request_id)

    def _post(self, request_id: int, method: str, sent: bytes, pending: _Pending) -> None:
        if self.down.is_set():
            raise unsent(self.why_down)
        if len(self._pending) >= _IN_FLIGHT:
            raise overloaded(f"{_IN_FLIGHT} calls are under way on one channel")
        self.max_bytes = max(self.max_bytes, pending.max_bytes)
        self._write(jsonrpc.request(request_id, method, sent), request_id)
        self._pending[request_id] = pending
        self.idle.clear()

    def _finished(self, request_id: int) -> None:
        self._pending.pop(request_id, None)
        self.last_used = asyncio.get_running_loop().time()
        if not self._pending:
            self.idle.set()

    # What comes.

    def heard(self, data: bytes) -> None:
        """One message. Raises NotMcpError for what is none: whether that ends the channel is for its owner to say."""
        try:
            message = jsonrpc.decode(data)
        except TooDeepError as failure:
            told = unintelligible(str(failure))
            self._fail(jsonrpc.answered_id(data, data), lambda _: told)
            return
        if message.method is None:
            self._answer(message, len(data))
        elif message.id is None:
            self._note(message)
        else:
            self._asked(message)

    def overlong(self, request_id: int | None) -> None:
        """An answer beyond the cap came."""
        self._fail(request_id, lambda pending: too_large(pending.max_bytes))

    def _fail(self, request_id: int | None, failure: Callable[[_Pending], Exception]) -> None:
        """Of an answer that cannot be read its call fails; if it cannot be told whose it is, all that are under way."""
        failing = list(self._pending.values()) if request_id is None else [self._pending.get(request_id)]
        for pending in failing:
            if pending is not None:
                pending.fail(failure(pending))

    def undelivered(self, request_id: int, failure: Exception) -> None:
        """A `Write` found out later that the request could not be sent."""
        pending = self._pending.pop(request_id, None)
        if pending is not None:
            pending.fail(failure)

    def fail(self, why: str) -> None:
        """The channel is gone: fail what is under way, take no more. The first reason given counts."""
        if self.down.is_set():
            return
        self.why_down = why
        self.down.set()
        for pending in self._pending.values():
            pending.fail(unavailable(why))
        self.hush()

    def hush(self) -> None:
        """Who listens hears no more; calls go on."""
        for ear in self.ears.values():
            ear.over.set()

    def _answer(self, message: Message, size_bytes: int) -> None:
        pending = self._pending.get(message.id) if type(message.id) is int else None
        if pending is None or pending.answer.done():
            return  # Of a call that was cancelled, or of none at all.
        try:
            raw = jsonrpc.answer_of(message, size_bytes)
        except NotMcpError as failure:
            pending.fail(unavailable(str(failure)))
            return
        if len(raw.result) + len(raw.error) > pending.max_bytes:
            pending.fail(too_large(pending.max_bytes))
        else:
            pending.answer.set_result(raw)

    def _note(self, message: Message) -> None:
        """Progress says by its token whose it is, news of a subscription by its id. A log message says nothing, and is
        passed on only while there is but one call it can belong to.
        """
        if message.method == ELICITED:
            self._elicited.complete(message)
        elif message.method == "notifications/cancelled":
            self._withdrawn(withdrawn_id(message))
        elif message.method == "notifications/progress":
            token = bytes(jsonrpc.members(message.params).get("progressToken", b""))
            self._pass(self._pending.get(int(token)) if token.isdigit() and len(token) < 20 else None, message)
        elif message.method == "notifications/message":
            calls = [pending for pending in self._pending.values() if pending.notify is not None]
            self._pass(calls[0] if len(calls) == 1 else None, message)
        else:
            self._news(message)

    def _pass(self, pending: _Pending | None, message: Message) -> None:
        note = pending.listener.heard(message) if pending is not None else None
        if pending is not None and pending.notify is not None and note is not None:
            pending.notify(note)

    def _news(self, message: Message) -> None:
        about = interests.subscription(message)
        for key, ear in list(self.ears.items()):
            if self.era == "legacy" or about == key:
                ear.hear(message)

    def _asked(self, message: Message) -> None:
        """A request of the server's. In the modern era there is none."""
        if message.method not in declared.QUESTIONS or self.greeting is None or self.era == "modern":
            self._write(jsonrpc.reply_to(message))
            return
        refused = attribute(message, [pending for pending in self._pending.values() if pending.asked_about])
        if refused:
            self._write(refused)

    def _withdrawn(self, request_id: Id) -> None:
        for pending in self._pending.values():
            if pending.questions is not None and pending.questions.withdrawn(request_id):
                return
