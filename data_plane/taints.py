"""Who has seen what, while it counts: in the Cache that all replicas share, and remembered by this worker."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from core.bound import Bound
from core.bus import Cache

REMEMBERED: Final = 8192
_SEEN: Final = b"1"


class Taints:
    """One per worker."""

    def __init__(self, cache: Cache, clock: Callable[[], float], *, remembered: int = REMEMBERED) -> None:
        """`clock`: seconds that only rise."""
        self._cache = cache
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()
        self._remembered = remembered
        self._full = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._until), self._remembered, self._full)

    async def set(self, key: str, ttl_s: float) -> None:
        """In force for this worker whatever happens. Raises BusAway where nobody else can be told."""
        self._until[key] = self._clock() + ttl_s
        self._until.move_to_end(key)
        while len(self._until) > self._remembered:
            self._until.popitem(last=False)
            self._full += 1
        await self._cache.put(key, _SEEN, ttl_s)

    async def there(self, key: str) -> bool:
        """Raises BusAway where nobody here knows of it, and nobody else can be asked."""
        until = self._until.get(key)
        if until is not None:
            if self._clock() < until:
                return True
            del self._until[key]
        return await self._cache.get(key) is not None
