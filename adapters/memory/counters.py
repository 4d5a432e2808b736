"""Buckets in this process."""

from collections import OrderedDict
from collections.abc import Callable

from core.bound import Bound
from core.limits import Bucket, Grant, Level, full_in_s, put_back, take

MAX_KEYS = 100_000
_LOOKED_AT = 2
"""Oldest buckets looked at with each new one: full ones, which are as good as none, go faster than they come."""


class MemoryCounters:
    """Implements `core.limits.Counters`. Past the cap the bucket longest unused is forgotten, and so starts full."""

    def __init__(self, clock: Callable[[], float], max_keys: int = MAX_KEYS) -> None:
        """`clock`: seconds that only rise, such as `time.monotonic`."""
        self._clock = clock
        self._max_keys = max_keys
        self._levels: OrderedDict[str, tuple[Level, Bucket]] = OrderedDict()
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._levels)

    @property
    def bound(self) -> Bound:
        return Bound(len(self._levels), self._max_keys, self._forgotten)

    async def take(self, key: str, bucket: Bucket, want: int) -> Grant:
        now = self._clock()
        known = self._levels.get(key)
        level, grant = take(known[0] if known else None, bucket, want, now)
        self._levels[key] = (level, bucket)
        self._levels.move_to_end(key)
        if known is None:
            self._make_room(now)
        return grant

    async def give_back(self, key: str, bucket: Bucket, tokens: int) -> None:
        known = self._levels.get(key)
        if known is not None:
            self._levels[key] = (put_back(known[0], bucket, tokens, self._clock()), bucket)

    def _make_room(self, now: float) -> None:
        for key in list(self._oldest()):
            level, bucket = self._levels[key]
            if full_in_s(level, bucket, now) <= 0:
                del self._levels[key]
        while len(self._levels) > self._max_keys:
            self._levels.popitem(last=False)
            self._forgotten += 1

    def _oldest(self) -> list[str]:
        return [key for key, _ in zip(self._levels, range(_LOOKED_AT), strict=False)]
