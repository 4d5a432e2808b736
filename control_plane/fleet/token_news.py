"""Which node tokens may have been replaced or revoked, for the streams that were let in with them."""

import asyncio


class TokenNews:
    """Told by name; a stream waits for its own. What is missed is made up for by looking again now and then."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self.told = 0
        """How often anything was told: a stream that is being let in looks again if that has risen meanwhile."""

    def tell(self, name: str) -> None:
        """This token changed; "": any may have."""
        self.told += 1
        for one in [name] if name else list(self._events):
            event = self._events.pop(one, None)
            if event is not None:
                event.set()

    def of(self, name: str) -> asyncio.Event:
        """Set when the token changes next."""
        return self._events.setdefault(name, asyncio.Event())
