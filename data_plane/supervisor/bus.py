"""What a node's workers share: among themselves at once, with other nodes through the outer bus where there is one."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from secrets import token_bytes

from core.bound import Bound
from core.bus import GAP, MESSAGE_MAX_BYTES, Bus, BusAway, Cache, Deliver, EventLog, Leave, Topics, check
from data_plane.channel import Channel
from data_plane.messages import (
    After,
    Answer,
    Append,
    Delivered,
    Done,
    Events,
    Get,
    Publish,
    Put,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Value,
)
from data_plane.telemetry.metrics import Gauge

log = logging.getLogger("toolgate.bus")

MAX_SUBSCRIPTIONS = 200_000
"""Of all workers: each has one for a topic, whoever listens there."""
SEAT_SUBSCRIPTIONS = 60_000
REJOIN_EVERY_S = 1.0
_MARK = 16


class _Elsewhere:
    """A topic of this node's at the outer bus."""

    __slots__ = ("joining", "leave", "wanted")

    def __init__(self) -> None:
        self.joining: asyncio.Task[None] | None = None
        self.leave: Leave | None = None
        self.wanted = True


class NodeBus:
    """Implements `core.bus.Bus`. While the outer bus is away this node's workers still reach each other.

    So `subscribe` fails at a cap only, and `publish` where nobody here listens and the others cannot be told.
    """

    def __init__(self, outer: Bus | None, most: int = MAX_SUBSCRIPTIONS) -> None:
        self._outer = outer
        self._mine = token_bytes(_MARK)
        """Before each message to the outer bus, which brings a node its own ones too."""
        self._here = Topics(most, _broken, self._left)
        self._there: dict[str, _Elsewhere] = {}
        self.published = self.delivered = self.away = 0
        """Messages from this node; told here, once for each subscription; not told to other nodes."""

    @property
    def topics(self) -> int:
        return len(self._here)

    def bounds(self) -> dict[str, Bound]:
        return {"bus_subscriptions": self._here.bound}

    def gauges(self) -> Iterator[Gauge]:
        yield Gauge("toolgate_bus_topics", "Topics this node listens to.", self.topics)
        text = "Messages this node's workers published."
        yield Gauge("toolgate_bus_published", text, self.published, counter=True)
        text = "Messages told to this node's workers."
        yield Gauge("toolgate_bus_delivered", text, self.delivered, counter=True)
        text = "Messages and subscriptions that did not reach the other nodes."
        yield Gauge("toolgate_bus_away", text, self.away, counter=True)

    async def publish(self, topic: str, message: bytes) -> None:
        check("message", topic, message, MESSAGE_MAX_BYTES)
        heard = self._tell_here(topic, message)
        if self._outer is None:
            return
        try:
            await self._outer.publish(topic, self._mine + message)
        except BusAway:
            self.away += 1
            if not heard:
                raise

    async def subscribe(self, topic: str, deliver: Deliver) -> Leave:
        leave = self._here.join(topic, deliver)
        if self._outer is None:
            return leave
        try:
            await self._join(self._outer, topic)
        except BusAway:
            self.away += 1  # `run` tries again.
        except BaseException:
            leave()
            raise
        return leave

    async def run(self) -> None:
        """Join what could not be joined; for ever."""
        if self._outer is None:
            await asyncio.Event().wait()
        else:
            await self._rejoin(self._outer)

    async def close(self) -> None:
        joining = [there.joining for there in self._there.values() if there.joining is not None]
        for task in joining:
            task.cancel()
        await asyncio.gather(*joining, return_exceptions=True)

    def _tell_here(self, topic: str, message: bytes) -> int:
        self.published += 1
        heard = self._here.deliver(topic, message)
        self.delivered += heard
        return heard

    # The outer bus.

    async def _join(self, outer: Bus, topic: str) -> None:
        """Raises BusAway."""
        there = self._there.setdefault(topic, _Elsewhere())
        if there.leave is not None:
            return
        if there.joining is None:
            there.joining = asyncio.get_running_loop().create_task(self._enter(outer, topic, there))
            there.joining.add_done_callback(lambda done: _settle(there, done))
        # Others may be waiting for the same: it is not this one's to cancel.
        await asyncio.shield(there.joining)

    async def _enter(self, outer: Bus, topic: str, there: _Elsewhere) -> None:
        leave = await outer.subscribe(topic, lambda message: self._from_elsewhere(topic, message))
        if there.wanted:
            there.leave = leave
        else:
            leave()

    def _from_elsewhere(self, topic: str, message: bytes) -> None:
        if not message.startswith(self._mine):
            self.delivered += self._here.deliver(topic, message[_MARK:])

    def _left(self, topic: str) -> None:
        there = self._there.pop(topic, None)
        if there is not None:
            there.wanted = False
            if there.leave is not None:
                there.leave()

    async def _rejoin(self, outer: Bus) -> None:
        while True:
            await asyncio.sleep(REJOIN_EVERY_S)
            missing = [topic for topic, there in self._there.items() if there.leave is None]
            with suppress(BusAway):  # One that cannot be joined stands for all of them, until the next round.
                for topic in missing:
                    if topic in self._there:
                        await self._join(outer, topic)
                if missing:
                    self.delivered += self._here.deliver(GAP, b"")


def _broken(topic: str, failure: Exception) -> None:
    log.error("a message on %s could not be taken", topic, exc_info=failure)


def _settle(there: _Elsewhere, done: asyncio.Task[None]) -> None:
    there.joining = None
    if not done.cancelled():
        done.exception()  # Retrieved: those who waited have it, and there may be none.


class Shared:
    """All that workers share, and the answers to their questions about it."""

    def __init__(self, bus: NodeBus, cache: Cache, events: EventLog) -> None:
        self.bus = bus
        self._cache = cache
        self._events = events

    async def answer(self, question: Publish | Put | Get | Append | After) -> Answer:
        """Raises BusAway."""
        if isinstance(question, Publish):
            await self.bus.publish(question.topic, question.message)
        elif isinstance(question, Put):
            await self._cache.put(question.key, question.value, question.ttl_s)
        elif isinstance(question, Get):
            return Value(await self._cache.get(question.key))
        elif isinstance(question, Append):
            await self._events.append(question.stream, *question.events)
        else:
            return Events(await self._events.after(question.stream, question.number))
        return Done()


class Subscriptions:
    """Of one worker, by its numbers; `close` them when it is gone."""

    def __init__(self, bus: Bus, channel: Channel) -> None:
        self._bus = bus
        self._channel = channel
        self._joining: dict[int, asyncio.Task[None]] = {}
        self._leaves: dict[int, Leave] = {}
        self._gaps: set[int] = set()
        """Of GAP: what a slow worker missed, it is told of with the next message it has time for."""
        self._missed = False

    def told(self, news: Subscribe | Unsubscribe) -> None:
        number = news.number
        if isinstance(news, Unsubscribe):
            joining, leave = self._joining.get(number), self._leaves.pop(number, None)
            if joining is not None:
                joining.cancel()
            if leave is not None:
                leave()
            self._gaps.discard(number)
        elif len(self._joining) + len(self._leaves) >= SEAT_SUBSCRIPTIONS:
            self._channel.tell(Subscribed(number, f"{SEAT_SUBSCRIPTIONS} subscriptions are held already"))
        else:
            task = asyncio.get_running_loop().create_task(self._join(number, news.topic))
            self._joining[number] = task
            task.add_done_callback(lambda _: self._joining.pop(number, None))

    async def _join(self, number: int, topic: str) -> None:
        try:
            leave = await self._bus.subscribe(topic, lambda message: self._deliver(number, message))
        except BusAway as failure:
            self._channel.tell(Subscribed(number, str(failure) or "away"))
        else:
            self._leaves[number] = leave
            if topic == GAP:
                self._gaps.add(number)
            self._channel.tell(Subscribed(number, ""))

    def _deliver(self, number: int, message: bytes) -> None:
        if not self._channel.mention(Delivered(number, message)):
            self._missed = True
        elif self._missed:
            self._missed = False
            for gap in self._gaps:
                self._channel.mention(Delivered(gap, b""))

    def close(self) -> None:
        for task in self._joining.values():
            task.cancel()
        for leave in self._leaves.values():
            leave()
        self._leaves.clear()
