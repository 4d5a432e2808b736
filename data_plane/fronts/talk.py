"""A conversation that lives on one connection: JSON-RPC messages in both directions, of both eras.

What connection that is - a WebSocket, an event stream with POSTs beside it - is its Line's business. Every message is
proven by the pipeline anew; who may not speak any more is hung up on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from secrets import token_hex
from time import monotonic_ns
from typing import Final, Literal, Protocol

import msgspec

from core.call import Inbound, Notification, Result
from core.errors import Reason, Refused, Unavailable
from core.mcp import classify, errors, jsonrpc, notifications
from core.mcp.classify import Arrival
from core.mcp.errors import INVALID_REQUEST, Rejected
from core.mcp.jsonrpc import Answer
from core.mcp.revisions import BATCHES
from data_plane.fronts import reply
from data_plane.fronts.asking import Asking
from data_plane.fronts.outgoing import Outgoing
from data_plane.fronts.party import Line, Party
from data_plane.streams import Stream, Streams

MAX_REQUESTS: Final = 64
"""Of one connection in the pipeline at once, streams it listens to among them."""
MAX_HELD: Final = 64
"""Messages behind an `initialize` that is not answered yet."""
MAX_TASKS: Final = 4 * MAX_REQUESTS
"""Requests and notifications; the latter are dropped beyond it."""

End = Literal["gone", "refused", "slow", "leaving"]
"""Why a conversation is over: its connection is lost; it has no right to be; it does not read; the gateway asks it to
go and come again."""

Deliver = Callable[[bytes], None]

_LEAVING = Unavailable(Reason.OVERLOADED, "the gateway is shutting down; send the request again", retry_after_s=1)
_RESPONSE: Final = "notifications/response"
"""What the pipeline knows a client's answer by: as a notification, proven and recorded."""
_FATAL = frozenset({Reason.UNAUTHENTICATED, Reason.NOT_FOUND})
"""What a credential, a session or an endpoint that is no more is refused with."""


class _Running:
    """A request of the client's in the pipeline."""

    __slots__ = ("cause", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.cause: Literal["", "cancelled", "leaving"] = ""
        """Why it was cut short: by its client, who does not want to hear of it any more; by the gateway."""

    def cut(self, cause: Literal["cancelled", "leaving"]) -> None:
        if self.task is not None and not self.cause:
            self.cause = cause
            self.task.cancel()


class _Batch:
    """Messages that came in one array: answered with an array once all of them are, as JSON-RPC has it."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._answers: list[bytes] = []
        self._expected = 0
        self._complete = False

    def expect(self) -> None:
        self._expected += 1

    def answered(self, message: bytes) -> None:
        self._answers.append(message)
        self._look()

    def complete(self) -> None:
        """No more are to come."""
        self._complete = True
        self._look()

    def _look(self) -> None:
        if self._complete and self._answers and len(self._answers) == self._expected:
            self._deliver(b"[" + b",".join(answer for answer in self._answers if answer) + b"]")


class Desk(Protocol):
    """What all conversations of a worker share: `data_plane.fronts.talks.Talks`."""

    handle: reply.Handle
    streams: Streams
    server_info: bytes
    quiet_s: float

    def next_id(self) -> str:
        """A correlation id."""
        ...

    async def expelled(self, party: Party) -> bool:
        """Whether the party may no longer be connected."""
        ...


class Talk:
    """Made once its party was admitted. `heard` takes what the client says, `run` sends what it is told."""

    def __init__(self, desk: Desk, party: Party, max_bytes: int) -> None:
        self.party = party
        self.max_bytes = max_bytes
        """Of one message."""
        self.end: End | None = None
        self._desk = desk
        self._loop = asyncio.get_running_loop()
        self._session = b""
        self._revision = ""
        self._greeting = False
        self._held: list[tuple[bytes, Party]] = []
        self._running: dict[bytes, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking = Asking(self._say)
        self._news: Stream | None = None
        self._news_lock = asyncio.Lock()
        self._listening: set[asyncio.Event] = set()
        self._outgoing = Outgoing()
        self._leaving = False

    @property
    def in_flight(self) -> int:
        return len(self._running)

    @property
    def queued_bytes(self) -> int:
        return self._outgoing.queued_bytes

    # === what the client says ===

    def heard(self, body: bytes, party: Party | None = None) -> None:
        """One message, or a batch of a revision that has them. `party`: where not everything is as it was at first."""
        if self.end is not None:
            return
        party = party or self.party
        if self._greeting:
            # What follows an initialize is meant for the session it begins.
            if len(self._held) < MAX_HELD:
                self._held.append((body, party))
            else:
                self._say(errors.body(errors.NULL, Rejected(503, 503, "wait for the answer to initialize").error))
            return
        try:
            several = self._several(body)
        except Rejected as rejection:
            self._tell(errors.body(rejection.id, rejection.error))
            return
        if several is None:
            self._said(body, party, None)
            return
        batch = _Batch(self._say)
        for message in several:
            if self._said(message, party, batch):
                batch.expect()
        batch.complete()

    def _several(self, body: bytes) -> list[bytes] | None:
        several = jsonrpc.batch(body)
        if several is not None and self._revision != BATCHES:
            raise Rejected(400, INVALID_REQUEST, "send one message at a time, not an array")
        if several is not None and not self._outgoing.has_room:
            raise Rejected(503, 503, "read what was answered before the next batch")
        return several

    def _said(self, body: bytes, party: Party, batch: _Batch | None) -> bool:
        """Whether there is or will be an answer; to the batch, if it is of one."""
        try:
            return self._message(body, party, batch)
        except Rejected as rejection:
            refuse = self._tell if batch is None else batch.answered
            refuse(errors.body(rejection.id, rejection.error))
            return True

    def _message(self, body: bytes, party: Party, batch: _Batch | None) -> bool:
        """As `_said`. Raises Rejected."""
        message = jsonrpc.read(body)
        if isinstance(message, Answer):
            if self._session and len(self._tasks) < MAX_TASKS:
                self._start(self._replied(message, party, len(body)))
            return False
        arrival = classify.arrive_bare(message, self._session)
        if message.method == "notifications/cancelled":
            self._cancelled(message.params)
        if not message.id:
            self._notice(arrival, party, len(body))
            return False
        if batch is not None and message.method == "initialize":
            raise Rejected(400, INVALID_REQUEST, "initialize may not be part of a batch", id=message.id)
        inbound = self._understood(arrival, party, len(body))
        if self._leaving or len(self._running) >= MAX_REQUESTS:
            error = errors.of_failure(_LEAVING if self._leaving else _too_many("requests"), inbound)
            raise Rejected(error.status, error.code, error.message, id=message.id)
        self._request(message.id, inbound, self._say if batch is None else batch.answered)
        return True

    def _understood(self, arrival: Arrival, party: Party, size: int) -> Inbound:
        """Raises Rejected."""
        place = party.place
        inbound = party.told(classify.understand(arrival, self._desk.next_id(), place.tenant, place.endpoint))
        inbound.received_ns, inbound.size_bytes = monotonic_ns(), size
        return inbound

    def _notice(self, arrival: Arrival, party: Party, size: int) -> None:
        """A notification. It is never answered, not even where it breaks a rule."""
        if arrival.era == "modern" or not self._session or len(self._tasks) >= MAX_TASKS:
            return
        try:
            inbound = self._understood(arrival, party, size)
        except Rejected:
            return
        self._start(self._notified(inbound))

    def _request(self, id_: bytes, inbound: Inbound, deliver: Deliver) -> None:
        inbound.notify = partial(self._notify, inbound)
        if inbound.era == "legacy":
            inbound.ask = partial(self._asking.ask, inbound)
        key, running = jsonrpc.canonical_id(id_), _Running()
        if inbound.method == "initialize":
            self._greeting = True
        # Of a client that uses an id twice at once, the first request has it; both count.
        self._running[key if key not in self._running else token_hex(8).encode()] = running
        running.task = self._start(self._answer(inbound, id_, running, deliver))

    async def _answer(self, inbound: Inbound, id_: bytes, running: _Running, deliver: Deliver) -> None:
        """Runs a request; its place is free once there is room for its answer."""
        fatal = False
        try:
            message, fatal = await self._outcome(inbound, id_)
            await self._outgoing.room()
        except asyncio.CancelledError:
            if not running.cause:
                raise
            leaving = running.cause == "leaving"
            message = errors.body(id_, errors.of_failure(_LEAVING, inbound)) if leaving else b""
        finally:
            # The request leads back here by these: a ring that only the garbage collector could free, call by call.
            inbound.notify = inbound.ask = None
            self._running = {key: one for key, one in self._running.items() if one is not running}
        deliver(message)
        if inbound.method == "initialize":
            self._greeted()
        if fatal:
            self._over("refused")
        self._outgoing.rouse()

    async def _outcome(self, inbound: Inbound, id_: bytes) -> tuple[bytes, bool]:
        """The response, and whether nothing more may be said after it."""
        try:
            result = await self._desk.handle(inbound)
            if result.opening is not None:
                return await self._listen(inbound, id_, result), False
            if inbound.method == "initialize":
                self._begun(result)
            elif inbound.method in ("resources/subscribe", "resources/unsubscribe"):
                await self._follow(inbound)
            return reply.of_result(result, inbound, id_, self._desk.server_info).message, False
        except (Refused, Unavailable) as failure:
            return errors.body(id_, errors.of_failure(failure, inbound)), failure.reason in _FATAL
        except Exception:  # noqa: BLE001 - the edge: a bug is logged with its id, and the caller told no more
            return reply.of_bug(inbound, id_).message, False

    def _begun(self, result: Result) -> None:
        self._session, self._revision = result.session.encode("ascii"), result.revision
        self._forget_news()

    def _forget_news(self) -> None:
        """The stream leads back here, in a ring that only the garbage collector could free."""
        if self._news is not None:
            self._news.close()
            self._news = None

    def _greeted(self) -> None:
        self._greeting = False
        held, self._held = self._held, []
        for at, (body, party) in enumerate(held):
            if self._greeting:  # Another one among them.
                self._held = held[at:]
                return
            self.heard(body, party)

    async def _notified(self, inbound: Inbound) -> None:
        """A session's notification: the pipeline proves and records it."""
        if await self._done(self._desk.handle(inbound)) and inbound.method == "notifications/initialized":
            await self._done(self._follow(inbound))

    async def _replied(self, answer: Answer, party: Party, size: int) -> None:
        """An answer to a server's question; proven and recorded as a notification is."""
        inbound = party.told(
            Inbound(
                id=self._desk.next_id(),
                tenant=party.place.tenant,
                endpoint=party.place.endpoint,
                transport=party.transport,
                era="legacy",
                revision=self._revision,
                method=_RESPONSE,
                credential=b"",
                session=self._session,
                received_ns=monotonic_ns(),
                size_bytes=size,
            )
        )
        if await self._done(self._desk.handle(inbound)):
            self._asking.answered(answer)

    async def _done(self, work: Awaitable[object]) -> bool:
        """Whether it went well, where nobody waits for what comes of it."""
        try:
            await work
        except (Refused, Unavailable) as failure:
            if failure.reason in _FATAL:
                self._over("refused")
            return False
        except Exception:  # noqa: BLE001 - as above
            reply.log.exception("internal error on a connection")
            return False
        return True

    def _cancelled(self, params: bytes) -> None:
        """Of a request on this very connection: nobody else's can be meant. It is answered no more."""
        request_id = classify.cancelled_id(params)
        running = self._running.get(jsonrpc.canonical_id(request_id)) if request_id else None
        if running is not None:
            running.cut("cancelled")

    # === what it is told without asking ===

    def _notify(self, inbound: Inbound, notification: Notification) -> None:
        message = notifications.outgoing(notification, inbound)
        if message is not None:
            self._tell(message)

    async def _listen(self, inbound: Inbound, id_: bytes, result: Result) -> bytes:
        """A `subscriptions/listen`: until the gateway ends it, which is its answer."""
        assert result.opening is not None
        early: list[bytes] = []
        began = False
        ended = asyncio.Event()

        def tell(notification: Notification) -> None:
            message = notifications.subscribed(notification, id_)
            if began:
                self._tell(message)
            elif len(early) < MAX_HELD:
                early.append(message)

        stream = self._desk.streams.open(inbound, result.opening, tell, ended.set)
        self._listening.add(ended)
        try:
            await stream.settled()
            acknowledged = Notification("notifications/subscriptions/acknowledged", result.result)
            for message in (notifications.subscribed(acknowledged, id_), *early):
                self._tell(message)
            began = True
            await ended.wait()
        finally:
            self._listening.discard(ended)
            stream.close()
        return jsonrpc.result(id_, notifications.unsubscribed(id_))

    async def _follow(self, cause: Inbound) -> None:
        """Hears, for its session, of lists that change and of what it subscribed to: as it stands now."""
        asking = msgspec.structs.replace(
            cause, id=self._desk.next_id(), method="GET", params=b"{}", meta=b"", progress_token=None
        )
        asking.notify = asking.ask = None
        asking.received_ns, asking.size_bytes = monotonic_ns(), 0
        initialized = cause.method == "notifications/initialized"
        async with self._news_lock:
            if self._news is None and not initialized:
                return  # The stream will begin with what was subscribed to until then.
            result = await self._desk.handle(asking)
            if result.opening is None or self._leaving or self.end is not None:
                return
            if self._news is None:
                tell = partial(self._notify, asking)
                self._news = self._desk.streams.open(asking, result.opening, tell, self.depart)
            else:
                self._news.hear_of(result.opening.subjects)
            await self._news.settled()

    def _tell(self, message: bytes) -> None:
        """What nobody waits for before it is sent on: a client that leaves too much of it unread is hung up on."""
        if self.end is None and not self._outgoing.add_unasked(message):
            self._over("slow")

    def _say(self, message: bytes) -> None:
        if self.end is None and message:
            self._outgoing.add(message)

    # === from beginning to end ===

    async def run(self, line: Line) -> End:
        """Sends until the conversation is over, which is returned; then nothing of it is left."""
        try:
            while self.end is None:
                if self._outgoing:
                    await line.say(self._outgoing.take())
                    self._outgoing.sent()
                elif self._leaving and not self._running:
                    self.end = "leaving"
                elif not await self._outgoing.woken(self._desk.quiet_s):
                    await line.beat()
            if self.end == "refused":
                await line.say(self._outgoing.take())
        except OSError:
            self.end = "gone"
        finally:
            self.end = self.end or "gone"
            await self._close()
        return self.end

    def lost(self) -> None:
        """The connection is no more: what its client asked for is cancelled."""
        self._over("gone")

    def depart(self) -> None:
        """The gateway ends it: at once where the party has no right to be here any more, else when all is answered."""
        if not self._leaving:
            self._leaving = True
            self._start(self._depart())

    async def _depart(self) -> None:
        if await self._desk.expelled(self.party):
            self._over("refused")
            return
        for ended in list(self._listening):
            ended.set()
        self._outgoing.rouse()

    def abandon(self) -> None:
        """The time to finish is over: what is not answered yet is answered so."""
        self._leaving = True
        for running in list(self._running.values()):
            running.cut("leaving")
        self._outgoing.rouse()

    def _over(self, end: End) -> None:
        if self.end is None:
            self.end = end
            self._outgoing.rouse()

    async def _close(self) -> None:
        self._forget_news()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        self._asking.close()

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _too_many(what: str) -> Unavailable:
    return Unavailable(Reason.OVERLOADED, f"too many {what} at once on this connection", retry_after_s=1)
