"""JWTs signed with ES256; others' verified with what `core.oauth.jose` allows."""

from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from hashlib import sha256

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from core.oauth.jose import TOKEN_MAX, BadToken, Claims, Token

_OURS = "ES256"
_KEYS_TRIED = 10
_KEYS: dict[str, tuple[str, str | None]] = {
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "EdDSA": ("OKP", "Ed25519"),
    "PS256": ("RSA", None),
    "RS256": ("RSA", None),
}
"""Algorithm to the type and curve of its keys."""
_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e"})
_RSA_BYTES = 256
_SIGNATURE_ONLY = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
"""What the claims mean is judged by whoever asked."""


class PyJwtTokens:
    """Jose."""

    def new_key(self) -> tuple[bytes, dict[str, str]]:
        key = ec.generate_private_key(ec.SECP256R1())
        private = ECAlgorithm.to_jwk(key, as_dict=True)
        public = {name: str(private[name]) for name in ("kty", "crv", "x", "y")}
        kid = _thumbprint(public)
        return msgspec.json.encode({**private, "kid": kid}), {**public, "kid": kid, "alg": _OURS, "use": "sig"}

    def sign(self, private: bytes, header: Mapping[str, str], claims: Claims) -> str:
        jwk = msgspec.json.decode(private, type=dict[str, str])
        key = ECAlgorithm.from_jwk(jwk)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return jwt.encode(dict(claims), key, algorithm=_OURS, headers={**header, "kid": jwk["kid"]})

    def verify(self, token: str, keys: Sequence[Mapping[str, object]]) -> Token:
        found = self.peek(token)
        alg, kid = found.header.get("alg"), found.header.get("kid")
        if not isinstance(alg, str) or alg not in _KEYS:
            raise BadToken("its algorithm is not taken")
        if "crit" in found.header or "b64" in found.header:
            raise BadToken("it has extensions that are not understood")
        wanted = [key for key in keys if _fits(key, alg) and (kid is None or key.get("kid") in (None, kid))]
        for key in wanted[:_KEYS_TRIED]:
            try:
                public = jwt.PyJWK({name: value for name, value in key.items() if name in _MEMBERS}, alg)
                claims = jwt.decode(token, public, algorithms=[alg], options=_SIGNATURE_ONLY)  # type: ignore[arg-type]
            except (jwt.PyJWTError, ValueError):
                continue
            return Token(found.header, claims)
        raise BadToken("no key of its signer fits its signature")

    def peek(self, token: str) -> Token:
        if len(token) > TOKEN_MAX or token.count(".") != 2:
            raise BadToken("it is no signed token")
        try:
            header, claims = (msgspec.json.decode(_decoded(part), type=Claims) for part in token.split(".")[:2])
        except (msgspec.DecodeError, ValueError, RecursionError) as failure:
            raise BadToken("it is no token that can be read") from failure
        return Token(header, claims)


def _thumbprint(public: Mapping[str, str]) -> str:
    """A key's id: of the members RFC 7638 names, and shorter than its thumbprint, as nothing is bound by it."""
    return sha256(msgspec.json.encode(dict(public), order="sorted")).hexdigest()[:32]


def _fits(key: Mapping[str, object], alg: str) -> bool:
    """Whether a key is for the algorithm, by its type and by what it says of itself."""
    kind, curve = _KEYS[alg]
    if key.get("kty") != kind or (curve is not None and key.get("crv") != curve):
        return False
    modulus = key.get("n", "")
    try:
        if kind == "RSA" and (not isinstance(modulus, str) or len(_decoded(modulus)) < _RSA_BYTES):
            return False
    except ValueError:
        return False
    return key.get("alg") in (None, alg) and key.get("use") in (None, "sig")


def _decoded(part: str) -> bytes:
    """Raises ValueError."""
    if not part.isascii():
        raise ValueError("is no base64url")
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
