"""Vault-compatible stores as they are spoken to: logged in to once, the token renewed, a value read."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from core import secret_store
from core.bound import Bound
from core.resource import digest, encode
from core.secret import NoValue, VaultSource
from core.secret_store import RENEW_SHARE, SHORT_S, Denied, Lease, SecretStore
from core.web import Unreachable, Web

SESSIONS_MAX = 1_000
AWAY_S = (5.0, 60.0)
"""A store that did not answer is not asked again for so long, first and at most, however many Secrets come from it: one
that never answers takes little of what there is for all.
"""


class _Session:
    """A token of a store, while it is good. One login or renewal at a time."""

    __slots__ = ("away", "away_until", "ends", "failures", "lease", "lock", "renew_at")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.lease: Lease | None = None
        self.renew_at = 0.0
        self.ends = 0.0
        self.away = ""
        self.away_until = 0.0
        self.failures = 0

    def hold(self, lease: Lease | None, now: float) -> None:
        self.lease = lease
        lasts = float("inf") if lease is None or lease.lasts_s is None else lease.lasts_s
        self.ends, self.renew_at = now + lasts, now + lasts * RENEW_SHARE

    def check(self, now: float) -> None:
        """Raises NoValue while it is to be left alone."""
        if now < self.away_until:
            raise NoValue(self.away)

    def did_not_answer(self, failure: Unreachable, now: float) -> None:
        pause_s = min(AWAY_S[1], AWAY_S[0] * float(1 << min(self.failures, 10)))
        self.away, self.away_until = f"the store is away: {failure}", now + pause_s
        self.failures += 1


class SecretStores:
    """One per replica. Tokens are kept in memory, and nowhere else."""

    def __init__(self, web: Web, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._web = web
        self._monotonic = monotonic
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._full = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._sessions), SESSIONS_MAX, self._full)

    async def read(
        self, tenant: str, store: SecretStore, values: Mapping[str, str], source: VaultSource
    ) -> tuple[str, float]:
        """The value, and in how many seconds it is to be read again. `values`: of the Secrets the login names.

        Raises NoValue.
        """
        session = self._session(tenant, store, values)
        session.check(self._monotonic())
        try:
            token = await self._token(session, store, values)
            answer = await self._web.fetch(secret_store.read_request(store, source, token))
            if answer.status == 403:
                # The token may have been ended at the store: once more with another.
                token = await self._token(session, store, values, instead_of=token)
                answer = await self._web.fetch(secret_store.read_request(store, source, token))
            session.failures = 0
            return secret_store.read_value(store, source, answer)
        except Unreachable as failure:
            session.did_not_answer(failure, self._monotonic())
            raise NoValue(session.away) from failure

    async def _token(
        self, session: _Session, store: SecretStore, values: Mapping[str, str], *, instead_of: str = ""
    ) -> str:
        async with session.lock:
            now, lease = self._monotonic(), session.lease
            session.check(now)
            if lease is not None and lease.token == instead_of:
                lease = None
            if lease is not None and now < session.renew_at:
                return lease.token
            if lease is not None and now < session.ends:
                lease = await self._renewed(session, store, lease)
            if lease is None or now >= session.ends:
                answer = await self._web.fetch(secret_store.login_request(store, values))
                session.hold(None, now)
                lease = secret_store.read_login(store, values, answer)
                session.hold(lease, self._monotonic())
            return lease.token

    async def _renewed(self, session: _Session, store: SecretStore, lease: Lease) -> Lease | None:
        """None: it is time to log in anew."""
        if not lease.renewable:
            return None
        try:
            answer = await self._web.fetch(secret_store.renewal_request(store, lease.token))
            fresh = secret_store.read_renewal(answer)
        except Denied:
            return None
        except (NoValue, Unreachable):
            return lease  # Good until it ends; the next to come tries again.
        if fresh.lasts_s is not None and fresh.lasts_s < SHORT_S:
            return None
        session.hold(fresh, self._monotonic())
        return fresh

    def _session(self, tenant: str, store: SecretStore, values: Mapping[str, str]) -> _Session:
        """Another declaration, or another credential, is another session."""
        key = digest(encode((tenant, store, sorted(values.items()))))
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _Session()
            if len(self._sessions) > SESSIONS_MAX:
                self._sessions.popitem(last=False)
                self._full += 1
        self._sessions.move_to_end(key)
        return session
