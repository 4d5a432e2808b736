"""AES-256-GCM for values (AES-256-SIV where equal ones are sealed alike), X25519 + HKDF for keys, Ed25519 to sign."""

import os
from hashlib import blake2b

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.sealing import SealBroken
from core.trust import key_id

_NONCE_BYTES = 12
_WRAP_INFO = b"toolgate node key wrap v1"


class AesGcmSealer:
    """Sealed form: nonce (12 bytes), then ciphertext with its tag."""

    def seal(self, key: bytes, plain: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, plain, context)

    def open(self, key: bytes, sealed: bytes, context: bytes) -> bytes:
        try:
            return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as failure:
            raise SealBroken("the sealed value does not open") from failure


class AesSivSealer:
    """Deterministic (RFC 5297): equal values in equal contexts are sealed alike. Sealed form: tag, then ciphertext.

    The 32-byte key is never used itself, as it seals other things by other means: its own 64 bytes are drawn from it.
    """

    def seal(self, key: bytes, plain: bytes, context: bytes) -> bytes:
        return AESSIV(_siv_key(key)).encrypt(plain, [context])

    def open(self, key: bytes, sealed: bytes, context: bytes) -> bytes:
        try:
            return AESSIV(_siv_key(key)).decrypt(sealed, [context])
        except (InvalidTag, ValueError) as failure:
            raise SealBroken("the sealed value does not open") from failure


def _siv_key(key: bytes) -> bytes:
    return blake2b(key=key, digest_size=64, person=b"toolgate siv").digest()


class Ed25519Signer:
    def __init__(self, private_key: bytes) -> None:
        """`private_key`: 32 raw bytes."""
        self._key = Ed25519PrivateKey.from_private_bytes(private_key)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.key_id = key_id(self.public_key)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


class Ed25519Verifier:
    def __init__(self, trusted: dict[str, bytes]) -> None:
        """`trusted`: key id to raw public key."""
        self._keys = {kid: Ed25519PublicKey.from_public_bytes(raw) for kid, raw in trusted.items()}

    def verify(self, key_id: str, data: bytes, signature: bytes) -> bool:
        key = self._keys.get(key_id)
        if key is None:
            return False
        try:
            key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


class X25519NodeKey:
    def __init__(self, private_key: bytes) -> None:
        """`private_key`: 32 raw bytes."""
        self._key = X25519PrivateKey.from_private_bytes(private_key)
        self.public_key = self._key.public_key().public_bytes_raw()

    def unwrap(self, sealed_key: bytes) -> bytes:
        if len(sealed_key) < 32 + _NONCE_BYTES:
            raise SealBroken("the sealed key is too short")
        sender, sealed = sealed_key[:32], sealed_key[32:]
        shared = self._key.exchange(X25519PublicKey.from_public_bytes(sender))
        return AesGcmSealer().open(_wrapping_key(shared, sender, self.public_key), sealed, _WRAP_INFO)


def wrap_for_node(data_key: bytes, node_public_key: bytes) -> bytes:
    """Seal a data key so that only the node's private key opens it: ephemeral public key, then sealed key."""
    ephemeral = X25519PrivateKey.generate()
    sender = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(node_public_key))
    return sender + AesGcmSealer().seal(_wrapping_key(shared, sender, node_public_key), data_key, _WRAP_INFO)


def _wrapping_key(shared: bytes, sender: bytes, receiver: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=sender + receiver, info=_WRAP_INFO).derive(shared)
