"""Who keeps showing credentials that are no good: such an address is held off for a while.

The node counts, so that all its workers together let an address try so often; each worker knows whom it holds off, and
so a request of anybody else costs one look at an empty table. Who is known to be good is let in from any address:
behind one there may be many, and one that hammers must not shut out the others.
"""

from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from core.bound import Bound
from core.errors import Limited, Reason, Refused
from core.forwarded import counted
from core.limits import Bucket, Counters, CountersAway, counter_key

HELD_OFF_MAX = 10_000
"""The first of them is let in again for one more; expired ones go before."""
_LIMIT = "bad-credentials"


class Doorstep:
    def __init__(self, counters: Counters, per_minute: int, *, clock: Callable[[], float] = monotonic) -> None:
        """`per_minute`: bad credentials an address may show; 0: as many as it likes."""
        self._counters = counters
        self._bucket = Bucket(per_minute / 60, per_minute)
        self._clock = clock
        self.held_off: dict[str, float] = {}
        """By address: until when; about in the order of that. Empty most of the time: look here before asking more."""
        self._let_go = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self.held_off), HELD_OFF_MAX, self._let_go)

    def refusal(self, client_address: str) -> Refused | None:
        """For somebody unknown from there; None: it may try."""
        now = self._clock()
        self._forget(now)
        until = self.held_off.get(counted(client_address)) if self.held_off else None
        return None if until is None or until <= now else self._refused(until - now)

    async def shown(self, client_address: str) -> Refused | None:
        """A bad credential came from there. What to say where that was one too many; None: nothing of it."""
        address = counted(client_address)
        if not self._bucket.burst or not address:
            return None
        with suppress(CountersAway):
            key = counter_key("address", "allow", "", _LIMIT, [address])
            grant = await self._counters.take(key, self._bucket, 1)
            if not grant.tokens:
                self._hold_off(address, grant.retry_after_s)
                return self._refused(grant.retry_after_s)
        return None

    def _hold_off(self, address: str, wait_s: float) -> None:
        now = self._clock()
        self._forget(now)
        self.held_off.pop(address, None)
        if len(self.held_off) >= HELD_OFF_MAX:
            del self.held_off[next(iter(self.held_off))]
            self._let_go += 1
        self.held_off[address] = now + wait_s

    def _forget(self, now: float) -> None:
        while self.held_off and self.held_off[first := next(iter(self.held_off))] <= now:
            del self.held_off[first]

    def _refused(self, wait_s: float) -> Refused:
        return Refused(
            Reason.RATE_LIMITED,
            "Too many bad credentials from this address.",
            detail=f"limit {_LIMIT}",
            retry_after_s=wait_s,
            limit=Limited(_LIMIT, self._bucket.burst, 60.0),
        )
