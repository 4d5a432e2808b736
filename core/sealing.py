"""Ports to cryptography: sealing values under a key, and signing snapshots."""

from typing import Protocol


class SealBroken(Exception):
    """What was to be opened is not what was sealed: wrong key, wrong context or changed bytes."""


class Sealer(Protocol):
    """Authenticated encryption under 32-byte keys."""

    def seal(self, key: bytes, plain: bytes, context: bytes) -> bytes:
        """Encrypt; `context` must be the same when opening, and is not stored."""
        ...

    def open(self, key: bytes, sealed: bytes, context: bytes) -> bytes:
        """Raises SealBroken."""
        ...


class Signer(Protocol):
    """Signs with the control plane's current key."""

    key_id: str
    public_key: bytes

    def sign(self, data: bytes) -> bytes: ...


class Verifier(Protocol):
    """Checks signatures made with any trusted key."""

    def verify(self, key_id: str, data: bytes, signature: bytes) -> bool: ...


class NodeKey(Protocol):
    """A gateway node's own key pair, to which tenants' data keys are sealed."""

    public_key: bytes

    def unwrap(self, sealed_key: bytes) -> bytes:
        """The 32-byte data key. Raises SealBroken."""
        ...
