"""Whose signatures on snapshots count: a chain of announcements, each signed by a key the one before it names."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec

from core.audit import Entry
from core.sealing import Signer, Verifier
from core.secret import Sealed

KEY_BYTES = 32
KEYS_MAX = 16
"""Keys trusted at once: two while one replaces another, the rest for those whose private half is kept elsewhere."""
CHAIN_MAX = 10_000
_DOMAIN = b"toolgate trust announcement v1\0"
"""No manifest begins so (0x74 is a number in msgpack, a manifest is a map): a signature on one is none on the other."""

MakeVerifier = Callable[[dict[str, bytes]], Verifier]
"""Key id to raw public key; gives what verifies with them."""


class Untrusted(Exception):
    """An announcement, or a chain of them, does not count; the message says why. What counted before still does."""


class Signature(msgspec.Struct, frozen=True, array_like=True):
    key_id: str
    signature: bytes


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """From here on these keys, and no others, sign snapshots and the next announcement."""

    number: int
    """From 1 on, each one higher than the one before."""
    keys: dict[str, bytes]
    """Key id to raw Ed25519 public key."""
    signs: str
    """Which of them the control plane signs with."""
    signatures: tuple[Signature, ...] = ()


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """What a node trusts. No keys: it has heard of none yet, and believes the first announcement."""

    keys: dict[str, bytes]
    number: int = 0
    """Of the announcement they came with; 0: they were given to the node by its operator."""


class KnownSigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key as people see it."""

    key_id: str
    public_key: bytes
    signs: bool
    held_here: bool
    """Whether this control plane has the private half."""
    since: int
    """Number of the first announcement that named it."""


def key_id(public_key: bytes) -> str:
    """Short name of a public key: 16 hex digits of its BLAKE2b."""
    return blake2b(public_key, digest_size=8).hexdigest()


def signed_bytes(one: Announcement) -> bytes:
    """What the signatures are over: the same bytes for the same meaning, whatever carried it."""
    keys = sorted(one.keys.values())
    head = one.number.to_bytes(8, "big") + one.signs.encode().ljust(16, b"\0") + len(keys).to_bytes(4, "big")
    return _DOMAIN + head + b"".join(keys)


def malformed(one: Announcement) -> str:
    """What is wrong with its form; empty: nothing. Ids are made of the keys, so no key can go by another's name."""
    if not 0 < one.number < 2**63:
        return "the number must be 1 or more"
    if not 0 < len(one.keys) <= KEYS_MAX:
        return f"1 to {KEYS_MAX} keys must be named, not {len(one.keys)}"
    if any(len(raw) != KEY_BYTES or key_id(raw) != name for name, raw in one.keys.items()):
        return "every key must be 32 bytes under its own id"
    if one.signs not in one.keys:
        return "the key that signs must be among the keys"
    return ""


def announce(
    number: int, keys: Mapping[str, bytes], signs: str, signers: Sequence[Signer], before: Announcement | None = None
) -> Announcement:
    """A signed announcement. Raises ValueError where nobody who trusts `before` would believe it."""
    bare = Announcement(number=number, keys=dict(sorted(keys.items())), signs=signs)
    wrong = malformed(bare)
    trusted = before.keys if before is not None else bare.keys
    if not wrong and not any(signer.key_id in trusted for signer in signers):
        wrong = "none of the keys that are trusted signs it"
    if wrong:
        raise ValueError(wrong)
    data = signed_bytes(bare)
    made = tuple(Signature(signer.key_id, signer.sign(data)) for signer in signers)
    return msgspec.structs.replace(bare, signatures=made)


def vouched(one: Announcement, keys: dict[str, bytes], verifier: MakeVerifier) -> bool:
    """Whether one of `keys` signed it."""
    data, verify = signed_bytes(one), verifier(keys).verify
    return any(verify(made.key_id, data, made.signature) for made in one.signatures if made.key_id in keys)


def follow(pinned: Pinned, chain: Sequence[Announcement], verifier: MakeVerifier) -> Pinned:
    """What is trusted after `chain`, whose last announcement is the one in force. All of it counts or none.

    Raises Untrusted. Announcements up to the pinned one tell nothing; one that none of the keys trusted so far signed
    is passed over, as long as a later one is signed by such a key.
    """
    if not chain or len(chain) > CHAIN_MAX:
        raise Untrusted(f"1 to {CHAIN_MAX} announcements must come, not {len(chain)}")
    for before, one in zip([None, *chain], chain, strict=False):
        wrong = malformed(one) or ("numbers must rise" if before is not None and one.number <= before.number else "")
        if wrong:
            raise Untrusted(f"announcement {one.number}: {wrong}")
    newest, reached = chain[-1], pinned
    if newest.number < pinned.number:
        raise Untrusted(f"announcement {newest.number} is older than {pinned.number}, which is pinned")
    for one in chain:
        reached = _step(reached, one, verifier)
    if reached.number != newest.number:
        raise Untrusted(
            f"announcement {newest.number} names {', '.join(newest.keys)}"
            f" and is signed by none of the keys pinned: {', '.join(reached.keys)}"
        )
    if reached.keys != newest.keys:
        raise Untrusted(f"announcement {newest.number} names other keys than the one of that number that is pinned")
    return reached


def _step(pinned: Pinned, one: Announcement, verifier: MakeVerifier) -> Pinned:
    # On first sight an announcement vouches for itself: whoever sends it must have the key at least.
    if one.number > pinned.number and vouched(one, pinned.keys or one.keys, verifier):
        return Pinned(keys=one.keys, number=one.number)
    return pinned


class Announcements(Protocol):
    """The chain, and the private halves made for it. Raises Rejected(UNAVAILABLE) when it cannot be read."""

    async def chain(self) -> list[Announcement]:
        """All of it, oldest first."""
        ...

    async def append(self, one: Announcement, change: Entry, made: tuple[str, Sealed] | None = None) -> bool:
        """With its row in the platform's audit log, and (key id, private half) of a key made for it; all are told.

        Atomic. False, and nothing is changed: there is one of that number already.
        """
        ...

    async def private(self) -> dict[str, Sealed]:
        """Key id to the private half, of those kept here."""
        ...
