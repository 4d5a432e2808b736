"""What tokens stand for, told to those who may know, and never without a row in the audit log."""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from hashlib import blake2b

from control_plane.services.authority import need, no_tenant, see_tenant
from control_plane.services.resources import change_entry
from control_plane.services.secrets import Vault
from core.admin import Admin, Rejected, Why
from core.audit import Entry
from core.audit_outcomes import ChangeOutcome
from core.resource import Problem, Ref
from core.sealing import Sealer
from core.tokenise import TOKEN_MAX_CHARS, Revealed, ValueTokens

MOST_TOKENS = 100
REASON_CHARS = 1000


class Revealing:
    def __init__(
        self,
        vault: Vault,
        sealer: Sealer,
        note: Callable[[Entry, str], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`sealer`: the deterministic one that gateways make tokens with. `note`: to the audit chain of a tenant."""
        self._vault = vault
        self._sealer = sealer
        self._note = note
        self._clock = clock

    async def reveal(
        self, admin: Admin, tenant: str, tokens: Sequence[str], reason: str
    ) -> list[tuple[str, Revealed | None]]:
        """Each with what it stands for; None: it is no token of this tenant. Owners of the tenant only.

        Raises Rejected; also where the audit log cannot be written: then nothing is told.
        """
        see_tenant(admin, tenant)
        keys = await self._vault.tenant_keys(tenant) if tenant else None
        if keys is None:
            raise no_tenant(tenant)
        problems = list(_problems(tokens, reason))
        if problems:
            raise Rejected(Why.INVALID, "the request is not valid", problems)
        if admin.tenant is None or admin.role != "owner":
            # Who runs the platform needs no customer's card number; and somebody tried.
            await self._note(self._entry(admin, tenant, "refused", tokens, [], reason), tenant)
            need(admin, "owner")
            raise Rejected(Why.DENIED, "tokens are revealed to owners of the tenant only")
        sealed = ValueTokens(tenant, keys.data_key, self._sealer)
        found = [(token, sealed.open(token)) for token in tokens]
        detectors = [one.detector for _, one in found if one is not None]
        await self._note(self._entry(admin, tenant, "revealed", tokens, detectors, reason), tenant)
        return found

    def _entry(  # noqa: PLR0917 - what a row holds, in a line.
        self,
        admin: Admin,
        tenant: str,
        outcome: ChangeOutcome,
        tokens: Sequence[str],
        detectors: list[str],
        reason: str,
    ) -> Entry:
        detail: dict[str, object] = {
            "reason": reason,
            "user": admin.user,
            "asked": len(tokens),
            "revealed": {name: detectors.count(name) for name in sorted(set(detectors))},
            "tokens": [blake2b(token.encode(), digest_size=8).hexdigest() for token in tokens],
        }
        return change_entry(admin, Ref("Tokens", tenant, "revealed"), outcome, detail, self._clock())


def _problems(tokens: Sequence[str], reason: str) -> Iterator[Problem]:
    if not 1 <= len(tokens) <= MOST_TOKENS:
        yield Problem("tokens", f"must be 1-{MOST_TOKENS}")
    for i, token in enumerate(tokens[:MOST_TOKENS]):
        if not token.startswith("[token:") or len(token) > TOKEN_MAX_CHARS:
            yield Problem(f"tokens[{i}]", "must be a token as a guard wrote it, such as [token:card:...]")
    if not reason.strip() or len(reason) > REASON_CHARS or "\0" in reason:
        yield Problem("reason", f"must say why, in 1-{REASON_CHARS} letters")
