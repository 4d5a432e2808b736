"""`core.token.TokenVerifier`: which key, and whether it made the signature. What a token says is judged in `core`."""

from collections.abc import Iterator
from typing import Any, Final

import jwt
import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import Algorithm, get_default_algorithms

from core.token import Header, PublicKeys, Token

LEAST_RSA_BITS: Final = 2048
"""RFC 7518, section 3.3."""
_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_ALGORITHMS: Final[dict[str, Algorithm]] = {
    name: one for name, one in get_default_algorithms().items() if name[:2] in ("RS", "PS", "ES") or name == "EdDSA"
}
"""Asymmetric ones: neither `none` nor any HMAC is here to be chosen."""


class _Jwk(msgspec.Struct):
    kty: str
    kid: str = ""
    alg: str = ""


class _Set(msgspec.Struct):
    keys: list[msgspec.Raw]


class JoseVerifier:
    """TokenVerifier."""

    def ready(self, keys: bytes) -> PublicKeys:
        return _Keys([made for raw in msgspec.json.decode(keys, type=_Set).keys for made in _made(bytes(raw))])


class _Keys:
    """(JWK, key) of one issuer."""

    def __init__(self, keys: list[tuple[_Jwk, Any]]) -> None:
        self._keys = keys

    def _of(self, header: Header) -> list[Any]:
        fitting = [(jwk, key) for jwk, key in self._keys if _is_for(header.alg, jwk, key)]
        if header.kid:
            fitting = [(jwk, key) for jwk, key in fitting if jwk.kid == header.kid]
        return [key for _, key in fitting]

    def fits(self, header: Header) -> bool:
        return len(self._of(header)) == 1

    def verifies(self, token: Token) -> bool:
        found = self._of(token.header)
        if len(found) != 1:
            return False
        try:
            return bool(_ALGORITHMS[token.header.alg].verify(token.signed, found[0], token.signature))
        except (InvalidSignature, ValueError, jwt.PyJWTError):
            return False


def _made(raw: bytes) -> Iterator[tuple[_Jwk, Any]]:
    jwk = msgspec.json.decode(raw, type=_Jwk)
    family = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}.get(jwk.kty)
    if family is None:
        return
    try:
        key: Any = _ALGORITHMS[family].from_jwk(raw.decode())
    except (jwt.PyJWTError, ValueError, UnsupportedAlgorithm, KeyError):
        return
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        return
    yield jwk, key


def _is_for(alg: str, jwk: _Jwk, key: object) -> bool:
    if jwk.alg and jwk.alg != alg:
        return False
    match alg[:2]:
        case "RS" | "PS":
            return isinstance(key, rsa.RSAPublicKey) and alg in _ALGORITHMS
        case "ES":
            return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == _CURVES.get(alg)
        case "Ed":
            return isinstance(key, ed25519.Ed25519PublicKey) and alg == "EdDSA"
    return False
