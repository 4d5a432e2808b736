"""Calls that wait for their callers' answers.

A server of the handshake era asks while it runs; a modern caller is asked in its result and answers with another
request. In between the call stays in the worker that began it, and any worker of any gateway can take it up again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from secrets import token_hex
from typing import Final

import msgspec

from core.bound import Bound, Shares
from core.bus import Bus, BusAway, Leave, TooLarge
from core.call import Ask, Notification, Notify, Question, Raw, Reply
from core.errors import Reason, Refused, Unavailable
from core.mcp.rounds import Asked, without_answer

log = logging.getLogger("toolgate.parked")

CAP: Final = 1000
"""Of one worker."""
TTL_S: Final = 600.0
"""How long a question may stay open."""
OWNER_S: Final = 2.0
"""An owner that is there says so within this."""
BEAT_S: Final = 5.0
"""And again as often while the turn lasts; three missed, and it is gone."""
NOTES: Final = 64
"""Notifications on their way to another worker; more are dropped."""
_GONE: Final = "the parked call is gone"
_TOO_LARGE: Final = "the tool's answer is too large"


class ParkedGone(Exception):
    """There is no such call any more: it ended, its time was over, or its worker died."""


Run = Callable[[Notify, Ask], Awaitable[Raw]]


class _Resume(msgspec.Struct, array_like=True, tag=1):
    reply_to: str
    replies: dict[str, Reply]


class _Abandon(msgspec.Struct, array_like=True, tag=2):
    pass


class _Here(msgspec.Struct, array_like=True, tag=3):
    pass


class _Note(msgspec.Struct, array_like=True, tag=4):
    notification: Notification


class _Turn(msgspec.Struct, array_like=True, tag=5):
    raw: Raw | None
    questions: dict[str, Question]


class _Failed(msgspec.Struct, array_like=True, tag=6):
    reason: str
    public: str
    detail: str


_Letter = _Resume | _Abandon | _Here | _Note | _Turn | _Failed
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Letter).decode


class Call:
    """A call under way whose server may ask. Ends by its result, by `give_up`, or a question left open too long."""

    def __init__(self, run: Run, notify: Notify, principal: bytes = b"") -> None:
        """`principal`: whose it is, as `Outgoing.principal`."""
        self.handle = ""
        self.principal = principal
        self.notify = notify
        """Of the request that waits for the next turn."""
        self._numbers = count(1)
        self._open: dict[str, tuple[Question, asyncio.Future[Reply]]] = {}
        self._roused = asyncio.Event()
        self.task: asyncio.Task[Raw] = asyncio.ensure_future(run(self._tell, self._ask))

    async def next(self) -> Raw | Asked:
        """The result, or what is asked now. Raises what the call raised; cancelling it gives the call up."""
        rouse = asyncio.ensure_future(self._roused.wait())
        try:
            await asyncio.wait((self.task, rouse), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.give_up()
            raise
        finally:
            rouse.cancel()
        if self.task.cancelled():
            raise Unavailable(Reason.CANCELLED, "The call was given up.")
        if self.task.done():
            return self.task.result()
        return Asked({key: question for key, (question, _) in self._open.items()})

    def answer(self, replies: dict[str, Reply]) -> None:
        """Keys nobody asked about are ignored; what is not answered stays asked."""
        for key, reply in replies.items():
            asked = self._open.pop(key, None)
            if asked is not None and not asked[1].done():
                asked[1].set_result(reply)
        if not self._open:
            self._roused.clear()

    def give_up(self) -> None:
        self.task.cancel()

    def _tell(self, notification: Notification) -> None:
        self.notify(notification)

    async def _ask(self, question: Question) -> Reply:
        key = f"question-{next(self._numbers)}"
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._open[key] = (question, answer)
        self._roused.set()
        try:
            async with asyncio.timeout(TTL_S):
                return await answer
        except TimeoutError:
            reply = without_answer(question)
            if reply is None:
                raise Unavailable(Reason.UPSTREAM_TIMEOUT, "Nobody answered the server's question.") from None
            return reply
        finally:
            self._open.pop(key, None)
            if not self._open:
                self._roused.clear()


class Parked:
    """Of one worker: the calls begun here, and the way to those begun elsewhere."""

    def __init__(self, bus: Bus, *, cap: int = CAP, ttl_s: float = TTL_S) -> None:
        self._bus = bus
        self._cap = cap
        self._ttl_s = ttl_s
        self._calls: dict[str, tuple[Call, Leave, asyncio.TimerHandle]] = {}
        self._shares = Shares(cap)
        self._coming = 0
        """Calls that are being parked."""
        self._serving: dict[str, Call] = {}
        """Taken up by a worker elsewhere, for a turn."""
        self._errands: set[asyncio.Task[None]] = set()
        self.refused = 0
        """Calls that found the cap reached."""
        self.expired = 0

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def bound(self) -> Bound:
        return Bound(len(self._calls), self._cap, self.refused)

    async def park(self, call: Call) -> str:
        """Keep a call that has asked until it is resumed. At a cap: Unavailable(OVERLOADED).

        There, and where this is cancelled, the call is given up.
        """
        if len(self._calls) + self._coming >= self._cap or self._shares.full(call.principal):
            self.refused += 1
            call.give_up()
            raise Unavailable(Reason.OVERLOADED, "Too many calls wait for answers.", retry_after_s=5)
        if not call.handle:
            call.handle = token_hex(16)
        handle = call.handle
        call.notify = _nowhere
        self._coming += 1
        self._shares.take(call.principal)
        try:
            leave = await self._bus.subscribe(_topic(handle), lambda letter: self._received(handle, letter))
        except BusAway:
            leave = _stay  # It can still be resumed in this worker.
        except BaseException:
            self._shares.give(call.principal)
            call.give_up()
            raise
        finally:
            self._coming -= 1
        timer = asyncio.get_running_loop().call_later(self._ttl_s, self._expire, handle)
        self._calls[handle] = (call, leave, timer)
        call.task.add_done_callback(lambda _: self._ended(handle, call))
        return handle

    async def resume(self, handle: str, replies: dict[str, Reply], notify: Notify) -> Raw | Asked:
        """Hand the answers over and wait for the call's next turn; what it asks then is parked under the same handle.

        Raises ParkedGone, and what the call raises. Cancelling it gives the call up.
        """
        kept = self._take(handle)
        if kept is None:
            return await self._resume_elsewhere(handle, replies, notify)
        return await self._turn(kept, replies, notify)

    async def close(self) -> None:
        """Give every call up."""
        calls = [call for call, _, _ in self._calls.values()]
        for handle in list(self._calls):
            self._take(handle)
        for call in calls:
            call.give_up()
        await asyncio.gather(*(call.task for call in calls), *self._errands, return_exceptions=True)

    # === calls of this worker ===

    async def _turn(self, call: Call, replies: dict[str, Reply], notify: Notify) -> Raw | Asked:
        call.notify = notify
        call.answer(replies)
        turn = await call.next()
        if isinstance(turn, Asked):
            await self.park(call)
        return turn

    def _take(self, handle: str) -> Call | None:
        lent = self._out(handle)
        if lent is None:
            return None
        call, leave = lent
        leave()
        return call

    def _lend(self, handle: str) -> tuple[Call, Leave] | None:
        """As `_take`, but letters for the call still arrive."""
        lent = self._out(handle)
        if lent is not None:
            self._serving[handle] = lent[0]
        return lent

    def _out(self, handle: str) -> tuple[Call, Leave] | None:
        """It is parked no more."""
        kept = self._calls.pop(handle, None)
        if kept is None:
            return None
        call, leave, timer = kept
        timer.cancel()
        self._shares.give(call.principal)
        return call, leave

    def _expire(self, handle: str) -> None:
        call = self._take(handle)
        if call is not None:
            self.expired += 1
            call.give_up()

    def _ended(self, handle: str, call: Call) -> None:
        """The call ended while it was parked: its server went away, or took its question back."""
        kept = self._calls.get(handle)
        if kept is not None and kept[0] is call:
            if not call.task.cancelled():
                call.task.exception()  # Whoever resumes is told that it is gone; nobody else asks.
            self._take(handle)

    # === between workers ===

    def _received(self, handle: str, raw: bytes) -> None:
        try:
            letter = _decode(raw)
        except msgspec.MsgspecError:
            log.warning("a letter for a parked call cannot be read")
            return
        if isinstance(letter, _Abandon):
            served = self._serving.get(handle)
            if served is not None:
                served.give_up()
            self._expire(handle)
        elif isinstance(letter, _Resume):
            lent = self._lend(handle)
            if lent is not None:
                errand = asyncio.ensure_future(self._serve(*lent, letter))
                self._errands.add(errand)
                errand.add_done_callback(self._errands.discard)

    async def _serve(self, call: Call, leave: Leave, resume: _Resume) -> None:
        """One turn for a worker elsewhere. If that worker goes away, the call ends when its question's time is over."""
        outgoing: asyncio.Queue[Notification | None] = asyncio.Queue(NOTES + 1)

        def note(notification: Notification) -> None:
            if outgoing.qsize() < NOTES:
                outgoing.put_nowait(notification)

        pumping = asyncio.ensure_future(self._pump(resume.reply_to, outgoing))
        letter: _Letter
        try:
            turn = await self._turn(call, resume.replies, note)
            letter = _Turn(None, turn.questions) if isinstance(turn, Asked) else _Turn(turn, {})
        except (Refused, Unavailable) as failure:
            letter = _Failed(failure.reason, failure.public, failure.detail)
        finally:
            # Not cancelled: a letter taken back half way is one that the other worker counts on.
            outgoing.put_nowait(None)
            self._serving.pop(call.handle, None)
            leave()
        await pumping
        with suppress(BusAway):
            try:
                await self._send(resume.reply_to, letter)
            except TooLarge as failure:
                await self._send(resume.reply_to, _Failed(Reason.UPSTREAM_TOO_LARGE, _TOO_LARGE, str(failure)))

    async def _pump(self, topic: str, outgoing: "asyncio.Queue[Notification | None]") -> None:
        """A sign of life, again and again, and notifications as they come; until None comes."""
        letter: _Letter = _Here()
        with suppress(BusAway):
            while True:
                with suppress(TooLarge):  # A notification that is goes missing, not the sign of life after it.
                    await self._send(topic, letter)
                try:
                    async with asyncio.timeout(BEAT_S):
                        notification = await outgoing.get()
                except TimeoutError:
                    letter = _Here()
                    continue
                if notification is None:
                    return
                letter = _Note(notification)

    async def _send(self, topic: str, letter: _Letter) -> None:
        await self._bus.publish(topic, _encode(letter))

    async def _resume_elsewhere(self, handle: str, replies: dict[str, Reply], notify: Notify) -> Raw | Asked:
        reply_to = f"parked/answer/{token_hex(16)}"
        inbox: asyncio.Queue[_Letter] = asyncio.Queue()
        try:
            leave = await self._bus.subscribe(reply_to, lambda raw: inbox.put_nowait(_decode(raw)))
        except BusAway as away:
            raise ParkedGone(str(away)) from away
        try:
            await self._send(_topic(handle), _Resume(reply_to, replies))
            async with asyncio.timeout(OWNER_S):
                first = await inbox.get()
            return await _await_turn(first, inbox, notify)
        except (BusAway, TimeoutError) as nobody:
            raise ParkedGone(_GONE) from nobody
        except asyncio.CancelledError:
            with suppress(BusAway):
                await self._send(_topic(handle), _Abandon())
            raise
        finally:
            leave()


async def _await_turn(letter: _Letter, inbox: "asyncio.Queue[_Letter]", notify: Notify) -> Raw | Asked:
    """`letter`: the first to come."""
    while True:
        if isinstance(letter, _Note):
            notify(letter.notification)
        elif isinstance(letter, _Turn):
            return letter.raw if letter.raw is not None else Asked(letter.questions)
        elif isinstance(letter, _Failed):
            raise Unavailable(Reason(letter.reason), letter.public, detail=letter.detail)
        async with asyncio.timeout(3 * BEAT_S):
            letter = await inbox.get()


def _topic(handle: str) -> str:
    return f"parked/{handle}"


def _nowhere(_: Notification) -> None:
    """Between two turns nobody listens."""


def _stay() -> None:
    """Nothing was subscribed to."""
