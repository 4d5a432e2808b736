"""What Toolgate says of itself in a JWT: client assertions and proofs of possession. It reads none here."""

import json
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from core.oauth_client import PROOF_ALGORITHM, NotBelieved, b64url

_CURVES = {"ES256": (ec.SECP256R1, hashes.SHA256(), 32), "ES384": (ec.SECP384R1, hashes.SHA384(), 48)}
_KEYS_REMEMBERED = 1024


class JwtProver:
    """`core.oauth_client.Prover`."""

    def sign(self, claims: Mapping[str, object], private_key_pem: str, algorithm: str) -> str:
        try:
            key = serialization.load_pem_private_key(private_key_pem.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as failure:
            raise NotBelieved("the private key is no PEM that can be read") from failure
        signing = _input({"alg": algorithm, "typ": "JWT"}, claims)
        return f"{signing}.{b64url(_signature(key, algorithm, signing.encode()))}"

    def new_key(self) -> bytes:
        return ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32, "big")

    def prove(self, claims: Mapping[str, object], key: bytes) -> str:
        private, jwk = _loaded(key)
        signing = _input({"typ": "dpop+jwt", "alg": PROOF_ALGORITHM, "jwk": jwk}, claims)
        return f"{signing}.{b64url(_signature(private, PROOF_ALGORITHM, signing.encode()))}"

    def thumbprint(self, key: bytes) -> str:
        return b64url(sha256(json.dumps(_loaded(key)[1], sort_keys=True, separators=(",", ":")).encode()).digest())


def _input(header: Mapping[str, object], claims: Mapping[str, object]) -> str:
    return ".".join(b64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))


@lru_cache(_KEYS_REMEMBERED)
def _loaded(key: bytes) -> tuple[ec.EllipticCurvePrivateKey, dict[str, str]]:
    """The key, and its public half as a JWK with the members of its thumbprint and no others."""
    private = ec.derive_private_key(int.from_bytes(key, "big"), ec.SECP256R1())
    point = private.public_key().public_numbers()
    x, y = (b64url(n.to_bytes(32, "big")) for n in (point.x, point.y))
    return private, {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def _signature(key: object, algorithm: str, data: bytes) -> bytes:
    """RFC 7518 section 3. Raises NotBelieved for a key of another kind than the algorithm takes."""
    if algorithm in _CURVES and isinstance(key, ec.EllipticCurvePrivateKey):
        curve, digest, size = _CURVES[algorithm]
        if isinstance(key.curve, curve):
            r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    elif algorithm == "EdDSA" and isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    elif algorithm in ("RS256", "PS256") and isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        scheme: padding.AsymmetricPadding = padding.PKCS1v15()
        if algorithm == "PS256":
            scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        return key.sign(data, scheme, hashes.SHA256())
    raise NotBelieved(f"the private key is none for {algorithm}")
