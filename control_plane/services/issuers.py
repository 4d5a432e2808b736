"""Keys of issuers: fetched when they are due, published when they changed, told of in the IdentityProvider's status."""

import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from control_plane.services.rounds import Rounds
from core.issuer import Due, IssuerKeys, KeySet, fetched
from core.resource import Ref
from core.store import Statuses
from core.web import Unreachable, Web

AT_ONCE: Final = 8
LEASE_S: Final = 30.0
TICK_S: Final = 1.0
RETRY_S: Final = (5.0, 300.0)
"""First and longest pause after what failed; never longer than the issuer's own `refresh_s`."""
STAMPS_PER_GRACE: Final = 4
"""How often a tenant is published only to say that an issuer still has the same keys."""

log = logging.getLogger("toolgate.issuers")


class Issuers:
    """`rounds` is to be run."""

    def __init__(self, keys: IssuerKeys, web: Web, statuses: Statuses, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._web = web
        self._statuses = statuses
        self._clock = clock
        self.rounds = Rounds(
            "issuers",
            lambda room: keys.claim(room, LEASE_S),
            self._fetch,
            named=lambda due: due.name,
            at_once=AT_ONCE,
            tick_s=TICK_S,
        )

    async def _fetch(self, due: Due) -> None:
        spec = due.spec
        known = due.known if due.known.source == spec.source else KeySet()
        if spec.disabled or not spec.is_fetched:
            await self._keys.learn(due, KeySet(), next_s=86400.0, publish=False)
            await self._report(due, KeySet(), "")
            return
        try:
            now = await fetched(spec, self._web, self._clock())
        except Unreachable as failure:
            await self._keys.learn(due, None, next_s=_again_s(due), publish=False)
            await self._report(due, known, str(failure))
            return
        # Of keys that are the same only the age is news, and old news will do: it makes a snapshot of its own.
        stamp_s = spec.grace_s / STAMPS_PER_GRACE
        same = now.keys == known.keys and now.seen_unix - known.seen_unix < stamp_s
        kept = msgspec.structs.replace(now, seen_unix=known.seen_unix) if same else now
        next_s = spec.refresh_s * random.uniform(0.9, 1.1)  # noqa: S311 (spreads requests, guards nothing)
        await self._keys.learn(due, kept, next_s=next_s, publish=kept != known)
        await self._report(due, kept, "")

    async def _report(self, due: Due, known: KeySet, error: str) -> None:
        count = len(msgspec.json.decode(known.keys, type=dict[str, list[msgspec.Raw]])["keys"])
        seen = datetime.fromtimestamp(known.seen_unix, UTC).isoformat(timespec="seconds") if known.is_there else None
        patch = {"keys": count or None, "keys_seen": seen, "error": error or None}
        await self._statuses.report({Ref("IdentityProvider", due.tenant, due.name): patch})


def _again_s(due: Due) -> float:
    first_s, longest_s = RETRY_S
    return min(float(due.spec.refresh_s), longest_s, first_s * float(1 << min(due.failures, 10)))
