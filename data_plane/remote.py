"""What a worker has in its supervisor, at the other end of the channel: counters, stdio servers, and what is shared."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from itertools import count

from core import approval
from core.approval import ApprovalsAway, TooManyWishes, Wish
from core.bound import Bound
from core.bus import (
    EVENT_MAX_BYTES,
    MESSAGE_MAX_BYTES,
    VALUE_MAX_BYTES,
    BusAway,
    Deliver,
    Event,
    Leave,
    TooLarge,
    Topics,
    check,
)
from core.call import Ask, Interest, Notification, Notify, Outgoing, Raw, Route
from core.concurrency import TooManyAtOnce
from core.concurrency import Wanted as Wanting
from core.errors import Reason, Unavailable
from core.exchange import Declined, Wanted
from core.issuer import KeySet
from core.limits import Bucket, CountersAway, Grant
from core.snapshot import Token
from data_plane.channel import Channel, ChannelLost
from data_plane.messages import (
    After,
    Answer,
    Append,
    Approved,
    AskApproval,
    Delivered,
    Events,
    Failed,
    FirstUse,
    Get,
    GiveBack,
    Granted,
    KeysFound,
    KeysWanted,
    ProofUsed,
    Publish,
    Put,
    Question,
    Ran,
    Subscribe,
    Subscribed,
    Take,
    TokenHad,
    TokenWanted,
    ToolCall,
    TurnHad,
    TurnOver,
    TurnRefused,
    TurnWanted,
    Unsubscribe,
    Value,
    Watch,
)

log = logging.getLogger("toolgate.bus")

MAX_SUBSCRIPTIONS = 50_000
"""Of one worker."""
_PUBLIC = "The server cannot be reached now."


class RemoteIssuerKeys:
    """Issuers' keys as the node has them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def keys(self, tenant: str, provider: str, kid: str) -> KeySet:
        """None at all where the supervisor cannot be asked."""
        try:
            answer = await self._channel.ask(KeysWanted(tenant, provider, kid))
        except ChannelLost:
            return KeySet()
        return answer.keys if isinstance(answer, KeysFound) else KeySet()


class RemoteProofs:
    """`bearers.FirstUse`: the node's supervisor knows which proofs its workers saw."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def first_use(self, mark: bytes) -> bool:
        """Raises Unavailable."""
        try:
            answer = await self._channel.ask(ProofUsed(mark))
        except ChannelLost:
            answer = Failed("away")
        if isinstance(answer, FirstUse):
            return answer.first
        public = "Whether a proof was used before cannot be told now."
        raise Unavailable(Reason.OVERLOADED, public, detail=_why(answer), retry_after_s=5)


class RemoteExchange:
    """`on_behalf.Obtain`: by the node's supervisor."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def obtain(self, wanted: Wanted) -> Token | Declined:
        try:
            answer = await self._channel.ask(TokenWanted(wanted))
        except ChannelLost:
            return Declined(refused=False, detail="the supervisor is gone")
        if isinstance(answer, TokenHad):
            return answer.token or answer.declined or Declined(refused=False, detail="no answer")
        return Declined(refused=False, detail=_why(answer))


class RemoteCounters:
    """`core.limits.Counters` of the node: exact across its workers."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def take(self, key: str, bucket: Bucket, want: int) -> Grant:
        try:
            answer = await self._channel.ask(Take(key, bucket, want))
        except ChannelLost as failure:
            raise CountersAway("the node's supervisor is gone") from failure
        if isinstance(answer, Granted):
            return Grant(answer.tokens, answer.retry_after_s)
        raise CountersAway(_why(answer))

    async def give_back(self, key: str, bucket: Bucket, tokens: int) -> None:
        try:
            await self._channel.ask(GiveBack(key, bucket, tokens))
        except ChannelLost:
            return


class RemoteBackend:
    """`core.call.ToolBackend` and `Watchable` for servers that are children of the node's supervisor."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def call(self, route: Route, outgoing: Outgoing, notify: Notify, ask: Ask | None = None) -> Raw:
        try:
            answer = await self._channel.ask(ToolCall(route, outgoing, ask is not None), notify, ask)
        except ChannelLost as failure:
            raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, _PUBLIC, detail="the supervisor is gone") from failure
        if isinstance(answer, Ran):
            return answer.raw
        raise _unavailable(answer)

    async def watch(self, route: Route, interest: Interest, tell: Notify, *, began: Callable[[], None]) -> None:
        def noted(note: Notification) -> None:
            if note.method:
                tell(note)
            else:
                began()

        try:
            answer = await self._channel.ask(Watch(route, interest), noted)
        except ChannelLost as failure:
            raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, _PUBLIC, detail="the supervisor is gone") from failure
        raise _unavailable(answer)


class RemoteApprovers:
    """`core.approval.Approvers` of the node."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def ask(self, wish: Wish, wait_s: float) -> approval.Answer:
        try:
            answer = await self._channel.ask(AskApproval(wish, wait_s))
        except ChannelLost as failure:
            raise ApprovalsAway("the supervisor is gone") from failure
        if isinstance(answer, Approved):
            return answer.answer
        if isinstance(answer, Failed) and answer.kind in ("busy", "large"):
            raise TooManyWishes
        raise ApprovalsAway(_why(answer))


class RemoteTurns:
    """`core.concurrency.Turns` of the node."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = count(1)

    async def take(self, tenant: str, wanted: tuple[Wanting, ...], within_s: float) -> Callable[[], None]:
        number = next(self._numbers)
        try:
            answer = await self._channel.ask(TurnWanted(number, tenant, wanted, within_s))
        except ChannelLost as failure:
            raise _no_turn("the supervisor is gone") from failure
        except asyncio.CancelledError:
            # The turn may be on its way here.
            self._channel.tell(TurnOver(number))
            raise
        if isinstance(answer, TurnHad):
            return partial(self._channel.tell, TurnOver(number))
        if isinstance(answer, TurnRefused):
            raise TooManyAtOnce(answer.limit, answer.why, answer.retry_after_s)
        if isinstance(answer, Failed) and answer.kind == "unavailable":
            raise _unavailable(answer)
        raise _no_turn(_why(answer))


def _no_turn(detail: str) -> Unavailable:
    return Unavailable(Reason.LIMIT_UNAVAILABLE, "The call cannot have its turn now.", detail=detail, retry_after_s=1)


class RemoteBus:
    """`core.bus.Bus` of the node. Whoever hears of the channel's news hands those meant for it to `told`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._topics = Topics(MAX_SUBSCRIPTIONS, _broken, self._emptied)
        self._numbers = count(1)
        self._known: dict[str, tuple[int, asyncio.Future[None]]] = {}
        """By topic: the subscription's number at the supervisor; done: it is in force."""
        self._by_number: dict[int, str] = {}

    @property
    def bound(self) -> Bound:
        return self._topics.bound

    async def publish(self, topic: str, message: bytes) -> None:
        check("message", topic, message, MESSAGE_MAX_BYTES)
        await _asked(self._channel, Publish(topic, message))

    async def subscribe(self, topic: str, deliver: Deliver) -> Leave:
        if self._channel.closed.is_set():
            raise BusAway("the node's supervisor is gone")
        leave = self._topics.join(topic, deliver)
        try:
            # Others may be waiting for the same: it is not this caller's to cancel.
            await asyncio.shield(self._in_force(topic))
        except BaseException:
            leave()
            raise
        return leave

    def told(self, news: Subscribed | Delivered) -> None:
        topic = self._by_number.get(news.number)
        if topic is None:
            return  # It was left before this was on its way.
        if isinstance(news, Delivered):
            self._topics.deliver(topic, news.message)
            return
        _, in_force = self._known[topic]
        if in_force.done():
            return
        if news.refused:
            in_force.set_exception(BusAway(news.refused))
        else:
            in_force.set_result(None)

    def lost(self) -> None:
        """The channel is gone."""
        for _, in_force in self._known.values():
            if not in_force.done():
                in_force.set_exception(BusAway("the node's supervisor is gone"))

    def _in_force(self, topic: str) -> "asyncio.Future[None]":
        known = self._known.get(topic)
        if known is None:
            number, in_force = next(self._numbers), asyncio.get_running_loop().create_future()
            # Retrieved: those who wait for it may have gone.
            in_force.add_done_callback(lambda done: done.cancelled() or done.exception())
            known = self._known[topic] = (number, in_force)
            self._by_number[number] = topic
            self._channel.tell(Subscribe(number, topic))
        return known[1]

    def _emptied(self, topic: str) -> None:
        known = self._known.pop(topic, None)
        if known is not None:
            del self._by_number[known[0]]
            self._channel.tell(Unsubscribe(known[0]))


def _broken(topic: str, failure: Exception) -> None:
    log.error("a message on %s could not be taken", topic, exc_info=failure)


class RemoteCache:
    """`core.bus.Cache` of the node."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        check("value", key, value, VALUE_MAX_BYTES)
        await _asked(self._channel, Put(key, value, ttl_s))

    async def get(self, key: str) -> bytes | None:
        answer = await _asked(self._channel, Get(key))
        if isinstance(answer, Value):
            return answer.value
        raise BusAway(_why(answer))


class RemoteEvents:
    """`core.bus.EventLog` of the node."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def append(self, stream: str, *events: Event) -> None:
        for event in events:
            check("event", stream, event.message, EVENT_MAX_BYTES)
        await _asked(self._channel, Append(stream, events))

    async def after(self, stream: str, number: int) -> list[Event] | None:
        answer = await _asked(self._channel, After(stream, number))
        if isinstance(answer, Events):
            return answer.events
        raise BusAway(_why(answer))


async def _asked(channel: Channel, question: Question) -> Answer:
    """Raises BusAway."""
    try:
        answer = await channel.ask(question)
    except ChannelLost as failure:
        raise BusAway("the node's supervisor is gone") from failure
    if isinstance(answer, Failed):
        raise TooLarge(answer.detail) if answer.kind == "large" else BusAway(_why(answer))
    return answer


def _unavailable(answer: Answer) -> Unavailable:
    if isinstance(answer, Failed) and answer.kind == "unavailable":
        return Unavailable(
            Reason(answer.reason), answer.public, detail=answer.detail, retry_after_s=answer.retry_after_s
        )
    if isinstance(answer, Failed) and answer.kind == "busy":
        return Unavailable(Reason.OVERLOADED, "The gateway is busy.", detail="channel full", retry_after_s=1)
    return Unavailable(Reason.UPSTREAM_UNAVAILABLE, _PUBLIC, detail=_why(answer))


def _why(answer: Answer) -> str:
    return f"{answer.kind} {answer.detail}".strip() if isinstance(answer, Failed) else type(answer).__name__
