"""Signed checkpoints of audit chains: what a chain's end was at a time, in the control plane's own hand.

A chain alone tells that a row was changed only to who knows its end. A checkpoint is that end, signed with a key of the
chain of announcements (`core.trust`), and names the checkpoint before it: none can be left out between two others.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec

from core.audit import GENESIS, Head
from core.sealing import Signer, Verifier
from core.trust import Announcement, MakeVerifier, malformed, vouched

_DOMAIN = b"toolgate audit checkpoint v1\0"
"""As in `core.trust`: no manifest and no announcement begins so."""
_HASH_BYTES = 32


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The row `seq` of a tenant's chain had this hash."""

    tenant: str
    """Empty: the platform's own chain."""
    seq: int
    hash: bytes
    at_ms: int
    """Unix milliseconds, on the clock of who signed."""
    before: bytes = GENESIS
    """Digest of the chain's checkpoint before this one; zeros: it is the first."""
    key_id: str = ""
    signature: bytes = b""


def signed_bytes(one: Checkpoint) -> bytes:
    """What the signature is over. Every part has a fixed length but the tenant's name, which carries its own."""
    tenant = one.tenant.encode()
    numbers = (len(tenant), one.seq, one.at_ms)
    return _DOMAIN + b"".join(n.to_bytes(8, "big") for n in numbers) + one.hash + one.before + tenant


def digest_of(one: Checkpoint) -> bytes:
    """What the next one names it by."""
    return blake2b(signed_bytes(one), digest_size=_HASH_BYTES).digest()


def checkpoint(tenant: str, head: Head, at_ms: int, before: Checkpoint | None, signer: Signer) -> Checkpoint:
    """The chain's end as it is now, signed."""
    bare = Checkpoint(
        tenant=tenant, seq=head.seq, hash=head.hash, at_ms=at_ms, before=digest_of(before) if before else GENESIS
    )
    signature = signer.sign(signed_bytes(bare))
    return msgspec.structs.replace(bare, key_id=signer.key_id, signature=signature)


def wrong(one: Checkpoint, tenant: str, verifier: Verifier) -> str:
    """Why a checkpoint does not count for the tenant; empty: it does."""
    if one.tenant != tenant:
        return f"checkpoint {one.seq} is of {one.tenant or 'the platform'}"
    if not 0 < one.seq < 2**63 or not 0 <= one.at_ms < 2**63:
        return f"checkpoint {one.seq} is of no row"
    if len(one.hash) != _HASH_BYTES or len(one.before) != _HASH_BYTES:
        return f"checkpoint {one.seq} holds what is no hash"
    if not verifier.verify(one.key_id, signed_bytes(one), one.signature):
        return f"checkpoint {one.seq} is not signed by a key that is trusted ({one.key_id or 'none'} is named)"
    return ""


def broken(
    checkpoints: Sequence[Checkpoint], tenant: str, verifier: Verifier, before: Checkpoint | None = None
) -> tuple[int, str]:
    """(row, why) of the first of a chain's checkpoints that does not count or does not follow; 0: all do.

    `checkpoints` rise by `seq`. The first follows `before`; None: it may follow one that was removed.
    """
    for one in checkpoints:
        why = wrong(one, tenant, verifier)
        if not why and before is not None and one.before != digest_of(before):
            why = f"checkpoint {one.seq} does not follow checkpoint {before.seq}: one between them is missing"
        if why:
            return one.seq, why
        before = one
    return 0, ""


def trusted_ever(roots: Mapping[str, bytes], chain: Iterable[Announcement], verifier: MakeVerifier) -> dict[str, bytes]:
    """Key id to public key of all that sign or signed, as far as `roots` vouch for them.

    An announcement counts where a key that was in force before it signed it. A key that was retired still vouches for
    the checkpoints of its time.
    """
    current, ever = dict(roots), dict(roots)
    for one in chain:
        if not malformed(one) and vouched(one, current, verifier):
            current = one.keys
            ever |= one.keys
    return ever


class Due(msgspec.Struct, frozen=True):
    """A chain that grew since its last checkpoint."""

    tenant: str
    head: Head
    last: Checkpoint | None
    hash_now: bytes = b""
    """Of the row that `last` is of, as it is now; empty: it was removed."""

    @property
    def cut(self) -> bool:
        """The chain ends before, or otherwise than, its last checkpoint says: such an end is never signed."""
        last = self.last
        if last is None:
            return False
        return self.head.seq < last.seq or (last.seq > self.head.pruned_seq and self.hash_now != last.hash)


class Checkpoints(Protocol):
    """Where checkpoints are kept. Raises Rejected(UNAVAILABLE) when that is away."""

    async def due(self, older_than_ms: int, rows: int, limit: int, without: Collection[str] = ()) -> list[Due]:
        """Chains whose last checkpoint is older than that, or that grew by so many rows since it; not those of
        `without`."""
        ...

    async def keep(self, made: Sequence[Checkpoint]) -> int:
        """How many were kept: another replica may have been first."""
        ...

    async def of(self, tenant: str, after_seq: int = 0, limit: int | None = None) -> list[Checkpoint]:
        """Of a chain, by rising `seq`; `limit` None: all."""
        ...

    async def unpublished(self, limit: int) -> list[Checkpoint]: ...

    async def published(self, ones: Sequence[Checkpoint]) -> None: ...
