"""The keys that sign snapshots: which one signs, how it is changed, and the announcements that gateways believe."""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from control_plane.services.access import ITSELF
from control_plane.services.authority import own_platform
from control_plane.services.resources import change_entry
from control_plane.services.secrets import KEY_BYTES, Vault
from core.admin import Admin, Rejected, Why
from core.audit import Entry
from core.audit_outcomes import ChangeOutcome
from core.publication import Sign
from core.resource import Problem, Ref
from core.sealing import Signer
from core.secret import Sealed
from core.snapshot import SignedManifest
from core.trust import KEYS_MAX, Announcement, Announcements, KnownSigningKey, announce

ATTEMPTS = 8
"""Replicas that announce at the same time: one is first, and the others look again."""

Resign = Callable[[str, Sign], Awaitable[int]]
"""(key id, sign): sign all that is published and that other keys signed; how many."""

log = logging.getLogger("toolgate.signing")


class Changed(NamedTuple):
    """What came of a rotation or a retirement."""

    key_id: str
    number: int
    resigned: int


class CurrentSigner:
    """`core.sealing.Signer` with the key in force; what holds it need not know that it changes."""

    def __init__(self, signer: Signer) -> None:
        self.use(signer)

    def use(self, signer: Signer) -> None:
        self._signer = signer
        self.key_id, self.public_key = signer.key_id, signer.public_key

    def sign(self, data: bytes) -> bytes:
        """A key that is not the one in force any more still signs: whoever publishes checks which it was."""
        return self._signer.sign(data)


class SigningKeys:
    """One replica's view of the chain, and what owners of the platform do with it."""

    def __init__(
        self,
        announcements: Announcements,
        vault: Vault,
        *,
        configured: Signer,
        make: Callable[[bytes], Signer],
        resign: Resign,
        trusted: Mapping[str, bytes] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`configured`: the key of the settings, which signs until the first rotation. `make`: of 32 secret bytes.

        `trusted`: key id to public key of further ones that gateways shall believe, their private half kept elsewhere.
        """
        self.signer = CurrentSigner(configured)
        self.chain: tuple[Announcement, ...] = ()
        """Oldest first, as last read; swapped whole."""
        self._announcements = announcements
        self._vault = vault
        self._configured = configured
        self._make = make
        self._resign = resign
        self._extra = dict(trusted or {})
        self._clock = clock
        self._held: dict[str, Sealed] = {}

    @property
    def vouchers(self) -> tuple[dict[str, bytes], tuple[Announcement, ...]]:
        """What tells which keys ever signed here: the key of the settings, by id, and the chain."""
        return {self._configured.key_id: self._configured.public_key}, self.chain

    @property
    def newest(self) -> Announcement:
        return self.chain[-1]

    async def start(self) -> None:
        """Read the chain, begin it if there is none, and have everything signed by the key in force.

        Raises Rejected, also where no private half of a trusted key is here.
        """
        for _ in range(ATTEMPTS):
            await self.refresh()
            due = self._due()
            if due is None:
                break
            entry = self._entry(ITSELF, "announced", due, due.signs)
            await self._announcements.append(due, entry)
        if self.signer.key_id != self.newest.signs:
            raise Rejected(
                Why.UNAVAILABLE,
                f"snapshots are signed with {self.newest.signs}, whose private half is not here; the key configured,"
                f" {self._configured.key_id}, is none that gateways trust: give the one before, and rotate it",
            )
        await self._sign_all()

    async def refresh(self) -> None:
        """Take over what was announced since, by whichever replica."""
        chain, held = await self._announcements.chain(), await self._announcements.private()
        self._held = held
        if chain:
            self.chain = tuple(chain)
            self._choose(chain[-1].signs)

    def _choose(self, key_id: str) -> None:
        if key_id == self._configured.key_id:
            self.signer.use(self._configured)
        elif key_id in self._held:
            self.signer.use(self._opened(key_id))
        if self.signer.key_id != key_id:
            log.error("snapshots are signed with %s from now on, whose private half is not here", key_id)

    def _due(self) -> Announcement | None:
        """What has to be announced before anything is signed: the first one, or what the settings changed."""
        own, extra = self._configured, self._extra
        if not self.chain:
            return announce(1, {**extra, own.key_id: own.public_key}, own.key_id, [own])
        newest = self.newest
        ever = {key_id for one in self.chain for key_id in one.keys}
        fresh = {key_id: raw for key_id, raw in extra.items() if key_id not in ever}
        if self.signer.key_id != newest.signs:
            if own.key_id not in newest.keys:
                return None
            return announce(newest.number + 1, newest.keys, own.key_id, [own], newest)
        if fresh:
            return self._announced({**newest.keys, **fresh}, newest.signs, [self.signer])
        return None

    # === what owners of the platform do ===

    async def list(self, admin: Admin) -> tuple[int, list[KnownSigningKey]]:
        """The number of the announcement in force, and the keys it names."""
        own_platform(admin)
        await self.refresh()
        since: dict[str, int] = {}
        for one in self.chain:
            for key_id in one.keys:
                since.setdefault(key_id, one.number)
        return self.newest.number, [
            KnownSigningKey(
                key_id=key_id,
                public_key=raw,
                signs=key_id == self.newest.signs,
                held_here=key_id in self._held or key_id == self._configured.key_id,
                since=since[key_id],
            )
            for key_id, raw in self.newest.keys.items()
        ]

    async def rotate(self, admin: Admin) -> Changed:
        """A new key signs from now on; gateways believe it because the one before says so. Raises Rejected.

        The key before stays trusted until it is retired, so a gateway that is away loses nothing.
        """
        own_platform(admin)
        private = secrets.token_bytes(KEY_BYTES)
        made = self._make(private)
        await self.refresh()
        self._must_sign()
        keys = {**self.newest.keys, made.key_id: made.public_key}
        # Signed by the new one too: nobody can announce a key that is not his.
        one = self._announced(keys, made.key_id, [self.signer, made])
        sealed = self._vault.seal(_ref(made.key_id), private)
        await self._append(one, self._entry(admin, "rotated", one, made.key_id), (made.key_id, sealed))
        return Changed(made.key_id, one.number, await self._sign_all())

    async def retire(self, admin: Admin, key_id: str) -> Changed:
        """Nobody believes the key any more, and its private half is destroyed if it is kept here. Raises Rejected."""
        own_platform(admin)
        await self.refresh()
        self._must_sign()
        if key_id not in self.newest.keys:
            raise Rejected(Why.NOT_FOUND, f"no signing key {key_id} is trusted")
        if key_id == self.newest.signs:
            raise Rejected(Why.IN_USE, f"{key_id} signs: rotate it first")
        resigned = await self._sign_all()
        keys = {name: raw for name, raw in self.newest.keys.items() if name != key_id}
        one = self._announced(keys, self.newest.signs, [self.signer])
        await self._append(one, self._entry(admin, "retired", one, key_id))
        return Changed(key_id, one.number, resigned)

    def _announced(self, keys: Mapping[str, bytes], signs: str, signers: Sequence[Signer]) -> Announcement:
        try:
            return announce(self.newest.number + 1, keys, signs, signers, self.newest)
        except ValueError as wrong:
            rule = f"{wrong}: retire one first" if len(keys) > KEYS_MAX else str(wrong)
            raise Rejected(Why.INVALID, "the signing keys are not valid", [Problem("keys", rule)]) from wrong

    def _must_sign(self) -> None:
        if self.signer.key_id != self.newest.signs:
            raise Rejected(Why.UNAVAILABLE, f"the private half of {self.newest.signs} is not with this replica")

    async def _append(self, one: Announcement, entry: Entry, made: tuple[str, Sealed] | None = None) -> None:
        if not await self._announcements.append(one, entry, made):
            raise Rejected(Why.CONFLICT, "the signing keys were changed at the same time: look again")
        await self.refresh()

    async def _sign_all(self) -> int:
        return await self._resign(self.signer.key_id, self.sign)

    def sign(self, manifest: bytes) -> SignedManifest:
        return SignedManifest(manifest=manifest, key_id=self.signer.key_id, signature=self.signer.sign(manifest))

    def _opened(self, key_id: str) -> Signer:
        return self._make(self._vault.open(_ref(key_id), self._held[key_id]))

    def _entry(self, admin: Admin, outcome: ChangeOutcome, one: Announcement, key_id: str) -> Entry:
        detail: dict[str, object] = {"number": one.number, "trusted": sorted(one.keys), "signs": one.signs}
        return change_entry(admin, _ref(key_id), outcome, detail, self._clock())


def _ref(key_id: str) -> Ref:
    """What the private half is sealed for, and how the audit log names the key."""
    return Ref("SigningKey", "", key_id)
