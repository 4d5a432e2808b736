"""Tokens had on callers' behalf: kept until shortly before they end, each asked for once however many wait for it.

A worker keeps what its own callers use, and the node's supervisor what its workers asked it for: so a caller's token is
exchanged once on a node, and a call whose token is at hand asks nobody.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from core.bound import Bound
from core.exchange import Declined, Wanted, fresh_until
from core.snapshot import Token

TOKENS_KEPT: Final = 10_000
DECLINED_S: Final = 5.0
"""How long a no, or no answer, stands for whoever asks next: a provider is not asked once a call."""
SPOILT_S: Final = 3.0
"""A token had less long ago is not had again because the server refuses it: that would be so with the next one too."""
_SWEPT = 4
"""Of those used longest ago, looked at whenever one is added: what has ended does not stay."""

Obtain = Callable[[Wanted], Awaitable[Token | Declined]]
"""Raises nothing."""


class _Kept:
    __slots__ = ("asking", "declined", "declined_until", "fresh_until", "had_at", "spoilt", "token")

    def __init__(self) -> None:
        self.token: Token | None = None
        self.had_at = 0.0
        self.fresh_until = 0.0
        self.spoilt = ""
        self.declined = Declined(False, "")
        self.declined_until = 0.0
        self.asking: asyncio.Task[None] | None = None


class OnBehalf:
    """Belongs to one loop; `close` it at the end."""

    def __init__(self, obtain: Obtain, clock: Callable[[], float], cap: int = TOKENS_KEPT) -> None:
        self._obtain = obtain
        self._clock = clock
        self._cap = cap
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._full = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._kept), self._cap, self._full)

    def at_hand(self, key: bytes, now_unix: float) -> Token | None:
        """One that needs no thought."""
        kept = self._kept.get(key)
        if kept is None or now_unix >= kept.fresh_until:
            return None
        self._kept.move_to_end(key)
        return kept.token

    async def token(self, wanted: Wanted, key: bytes) -> Token | Declined:
        """Waits only where there is none in force: one that ends soon is used while the next is had."""
        now = self._clock()
        kept = self._of(key, now)
        spoilt = bool(wanted.spoilt) and kept.token is not None and kept.token.value == wanted.spoilt
        if spoilt:
            kept.token, kept.spoilt, kept.fresh_until = None, wanted.spoilt, 0.0
        if now >= kept.fresh_until and kept.asking is None and now >= kept.declined_until:
            kept.asking = asyncio.get_running_loop().create_task(self._ask(wanted, kept))
        if _in_force(kept, now):
            assert kept.token is not None
            return kept.token
        if kept.asking is not None:
            # Whoever stops waiting stops nobody else's request.
            await asyncio.shield(kept.asking)
        return kept.token if kept.token is not None and _in_force(kept, self._clock()) else kept.declined

    def refused(self, key: bytes, token: str) -> None:
        """The server does not take it any more: the next call gets another."""
        kept = self._kept.get(key)
        if kept is None or kept.token is None or kept.token.value != token:
            return
        if self._clock() - kept.had_at >= SPOILT_S:
            kept.spoilt, kept.token, kept.fresh_until = token, None, 0.0

    async def close(self) -> None:
        asking = [kept.asking for kept in self._kept.values() if kept.asking is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, wanted: Wanted, kept: _Kept) -> None:
        try:
            if kept.spoilt and not wanted.spoilt:
                wanted = msgspec.structs.replace(wanted, spoilt=kept.spoilt)
            found = await self._obtain(wanted)
            now = self._clock()
            if isinstance(found, Token):
                kept.token, kept.had_at, kept.fresh_until = found, now, fresh_until(found, now)
                kept.spoilt = ""
            else:
                kept.declined, kept.declined_until = found, now + DECLINED_S
        finally:
            kept.asking = None

    def _of(self, key: bytes, now: float) -> _Kept:
        kept = self._kept.get(key)
        if kept is None:
            for old in list(self._oldest()):
                if self._kept[old].asking is None and not _in_force(self._kept[old], now):
                    del self._kept[old]
            kept = self._kept[key] = _Kept()
            if len(self._kept) > self._cap:
                self._kept.popitem(last=False)
                self._full += 1
        self._kept.move_to_end(key)
        return kept

    def _oldest(self) -> list[bytes]:
        return [key for key, _ in zip(self._kept, range(_SWEPT), strict=False)]


def _in_force(kept: _Kept, now: float) -> bool:
    token = kept.token
    return token is not None and (token.expires_unix is None or now < token.expires_unix)
