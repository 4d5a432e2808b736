"""The calls a front has in the pipeline: by session and id, for cancelling; and all, for keeping silent ones alive."""

import asyncio
from typing import Protocol

from core.mcp.jsonrpc import canonical_id
from data_plane.fronts.exchange import Cause
from data_plane.fronts.mail import mark

_Key = tuple[bytes, bytes]


class Exchange(Protocol):
    """One request in the pipeline: `exchange.Exchange`, or an entry of a batch."""

    quiet_since: float

    @property
    def queued_bytes(self) -> int: ...

    def keep_alive(self, now: float) -> None: ...

    def cancel(self, cause: Cause) -> bool: ...


class InFlight:
    """One timer looks after all calls, armed only while there are any: a fast call never makes one."""

    def __init__(self, quiet_s: float) -> None:
        """`quiet_s`: a call without a word for so long is told to keep its client's connection alive."""
        self._quiet_s = quiet_s
        self._exchanges: dict[Exchange, None] = {}
        self._sessions: dict[_Key, Exchange] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._exchanges)

    def queued_bytes(self) -> list[int]:
        """Of each call: what waits for its client to read."""
        return [exchange.queued_bytes for exchange in self._exchanges]

    def enter(self, exchange: Exchange, session: bytes, request_id: bytes) -> None:
        """Registers a call until `leave` is called. `session` empty: it cannot be cancelled by id."""
        self._exchanges[exchange] = None
        if self._timer is None:
            self._arm()
        if session:
            self._sessions[session, canonical_id(request_id)] = exchange

    def leave(self, exchange: Exchange, session: bytes, request_id: bytes) -> None:
        """As entered."""
        self._exchanges.pop(exchange, None)
        # A client that uses an id twice at once has the later request under it.
        if session and self._sessions.get(key := (session, canonical_id(request_id))) is exchange:
            del self._sessions[key]

    def cancel(self, session: bytes, request_id: bytes) -> bool:
        """Whether a call of that session and id was here to cancel."""
        exchange = self._sessions.get((session, canonical_id(request_id)))
        return exchange is not None and exchange.cancel("cancelled")

    def cancel_elsewhere(self, session: bytes, request_id: bytes) -> None:
        """As `cancel`, where the session is known by its mark only."""
        id_ = canonical_id(request_id)
        for (whose, which), exchange in list(self._sessions.items()):
            if which == id_ and mark(whose) == session:
                exchange.cancel("cancelled")

    def cancel_all(self, cause: Cause) -> None:
        for exchange in list(self._exchanges):
            exchange.cancel(cause)

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self._quiet_s / 15, self._look)

    def _look(self) -> None:
        self._timer = None
        quiet_since = self.loop.time() - self._quiet_s
        for exchange in list(self._exchanges):
            if exchange.quiet_since <= quiet_since:
                exchange.keep_alive(self.loop.time())
        if self._exchanges:
            self._arm()
