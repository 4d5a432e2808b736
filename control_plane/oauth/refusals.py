"""Failed proofs in a tenant's audit log: who could not show to be the client, user or agent they said they were."""

import time
import uuid
from collections.abc import Callable

from control_plane.browser.pace import Pace
from control_plane.oauth.issuers import auth_entry
from core.audit import AuditRows

SHOWN_MAX = 256


class Refusals:
    """A few rows a minute for an address: anybody can fail a thousand times, and fills no log with it."""

    def __init__(self, audit: AuditRows, *, clock: Callable[[], float] = time.time) -> None:
        self._audit = audit
        self._clock = clock
        self.pace = Pace(burst=20, per_minute=20)

    async def note(self, tenant: str, tool: str, claimed: str, address: str, why: str) -> None:
        """`claimed`: the client id they gave, proven by nothing. Raises Rejected(UNAVAILABLE)."""
        if not self.pace.admits(address):
            return
        shown = "".join(c if c.isprintable() else " " for c in claimed[:SHOWN_MAX])
        detail: dict[str, object] = {"client_id": shown, "address": address, "why": why[:SHOWN_MAX]}
        entry = auth_entry(uuid.uuid4().hex, tool, "refused", "/", detail=detail, now=self._clock())
        await self._audit.store({tenant: [entry]})
