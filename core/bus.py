"""What the workers of all gateways share while a conversation lasts: messages, small values, and streams' events.

In memory for one node, in Redis for many. Nothing here is needed to answer a call: where it is away, what fails is the
conversation that crosses processes, with its protocol's own answer.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec


class BusAway(Exception):
    """Nothing can be shared now."""


Deliver = Callable[[bytes], None]
"""Takes a message; never blocks, never raises."""
Leave = Callable[[], None]
"""Ends a subscription."""


class Bus(Protocol):
    """Messages by topic: at most once, in order per publisher, to those subscribed at that moment."""

    async def publish(self, topic: str, message: bytes) -> None:
        """Raises BusAway."""
        ...

    async def subscribe(self, topic: str, deliver: Deliver) -> Leave:
        """In force when it returns; it survives reconnections, with gaps. Raises BusAway."""
        ...


class Cache(Protocol):
    """Small values that expire."""

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Raises BusAway."""
        ...

    async def get(self, key: str) -> bytes | None:
        """None where there is none, or no more. Raises BusAway."""
        ...


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One message of a stream that may be taken up again. `number` rises by one from 1."""

    number: int
    message: bytes


class EventLog(Protocol):
    """The last events of streams: `cap` of each, for `ttl_s` from the newest on; both are the adapter's settings."""

    async def append(self, stream: str, event: Event) -> None:
        """Raises BusAway."""
        ...

    async def after(self, stream: str, number: int) -> list[Event] | None:
        """Those behind `number`, in order; None where any of them, or the whole stream, is no more. Raises BusAway."""
        ...
