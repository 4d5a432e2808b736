"""How often one address may try something, on this replica."""

import time
from collections import OrderedDict
from collections.abc import Callable

from core.bound import Bound
from core.forwarded import counted


class Pace:
    """A bucket per address: `burst` at once, `per_minute` in the long run."""

    def __init__(
        self, *, burst: int, per_minute: int, addresses: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._every_s = 60.0 / per_minute
        self._most = addresses
        self._clock = clock
        self._free_at: OrderedDict[str, float] = OrderedDict()
        self._evicted = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._free_at), self._most, self._evicted)

    def admits(self, address: str) -> bool:
        """GCRA; an attempt that is not admitted costs nothing. An IPv6 network of one subscriber is one address."""
        address = counted(address) or address
        now = self._clock()
        ahead = max(self._free_at.get(address, now), now) + self._every_s
        if ahead - now > self._burst * self._every_s:
            return False
        self._free_at[address] = ahead
        self._free_at.move_to_end(address)
        while len(self._free_at) > self._most:
            self._free_at.popitem(last=False)
            self._evicted += 1
        return True
