"""Proofs of possession, and what is offered in their place: RFC 9449, section 4.3, rule by rule."""

import json
from base64 import urlsafe_b64encode
from hashlib import sha256

import pytest

from core.dpop import ALGORITHMS, FUTURE_S, PAST_S, BadProof, judge, read, thumbprint, token_hash
from core.token import BadToken, Binding, binding

NOW = 1_800_000_000.0
URL = "https://mcp.example/acme/default/mcp"
TOKEN = b"ey.J.x"
KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
MODULUS = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
    "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
    "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
    "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)
RSA = {"kty": "RSA", "n": MODULUS, "e": "AQAB"}
"""Of RFC 7638, section 3.1."""


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def proof(header: dict[str, object] | None = None, without: tuple[str, ...] = (), **claims: object) -> bytes:
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY, **(header or {})}
    said = {"jti": "one", "htm": "POST", "htu": URL, "iat": NOW, "ath": token_hash(TOKEN), **claims}
    parts = ({k: v for k, v in part.items() if k not in without} for part in (head, said))
    return ".".join([*(b64(json.dumps(part).encode()) for part in parts), b64(b"signature")]).encode()


def judged(raw: bytes, token: bytes | None = TOKEN, url: str = URL, now: float = NOW) -> None:
    judge(read(raw), method="POST", url=url, now_unix=now, token=token)


def test_a_proof_for_this_request_and_this_token_is_one() -> None:
    judged(proof())
    judged(proof(without=("ath",)), token=None)
    for alg in ALGORITHMS:
        read(proof({"alg": alg}))


def test_a_thumbprint_is_the_one_of_rfc_7638() -> None:
    assert thumbprint(RSA) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert thumbprint({**RSA, "kid": "x", "alg": "RS256", "use": "sig"}) == thumbprint(RSA)
    assert read(proof()).thumbprint == thumbprint(KEY)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"a.b",
        b"a.b.c.d",
        b"....",
        proof({"typ": "jwt"}),
        proof({"typ": "DPOP+JWT"}),
        proof({"typ": "at+jwt"}),
        proof(without=("typ",)),
        proof({"alg": "none"}),
        proof({"alg": "HS256"}),
        proof({"alg": "es256"}),
        proof(without=("alg",)),
        proof(without=("jwk",)),
        proof({"jwk": {**KEY, "d": "private"}}),
        proof({"jwk": {"kty": "oct", "k": "c2VjcmV0"}}),
        proof({"jwk": {"kty": "EC", "crv": "P-256", "x": "f8"}}),
        proof({"jwk": {**KEY, "use": "enc"}}),
        proof({"jwk": [KEY]}),
        proof({"crit": ["exp"]}),
        proof({"pad": "x" * 9000}),
        proof() + b"=",
        proof()[:-1] + b"!",
        json.dumps({"payload": "x"}).encode(),
    ],
)
def test_what_has_not_the_form_of_a_proof_is_none(raw: bytes) -> None:
    with pytest.raises(BadProof):
        read(raw)


@pytest.mark.parametrize(
    "claims",
    [
        {"jti": ""},
        {"jti": "x" * 257},
        {"jti": 7},
        {"htm": "GET"},
        {"htm": "post"},
        {"htm": None},
        {"htu": "https://mcp.example/acme/other/mcp"},
        {"htu": "https://mcp.example/acme/default/mcp/"},
        {"htu": "https://mcp.example/beta/default/mcp"},
        {"htu": "http://mcp.example/acme/default/mcp"},
        {"htu": "https://mcp.example:8443/acme/default/mcp"},
        {"htu": "https://evil.example/acme/default/mcp"},
        {"htu": "https://mcp.example.evil.example/acme/default/mcp"},
        {"htu": "https://mcp.example@evil.example/acme/default/mcp"},
        {"htu": "https://a@mcp.example/acme/default/mcp"},
        {"htu": "ftp://mcp.example/acme/default/mcp"},
        {"htu": "/acme/default/mcp"},
        {"htu": "https://mcp.example:x/acme/default/mcp"},
        {"htu": ""},
        {"htu": None},
        {"htu": [URL]},
        {"iat": NOW - PAST_S - 1},
        {"iat": NOW + FUTURE_S + 1},
        {"iat": str(NOW)},
        {"iat": True},
        {"iat": None},
        {"iat": float("nan")},
        {"ath": token_hash(b"another")},
        {"ath": b64(sha256(b"").digest())},
        {"ath": ""},
        {"ath": "ä"},
        {"ath": None},
        {"ath": token_hash(TOKEN) + "="},
    ],
)
def test_a_proof_for_anything_else_is_none_for_this(claims: dict[str, object]) -> None:
    with pytest.raises(BadProof):
        judged(proof(**claims))


@pytest.mark.parametrize("missing", ["jti", "htm", "htu", "iat", "ath"])
def test_every_claim_must_be_there(missing: str) -> None:
    with pytest.raises(BadProof):
        judged(proof(without=(missing,)))


@pytest.mark.parametrize(
    "told",
    [
        "HTTPS://MCP.EXAMPLE/acme/default/mcp",
        "https://mcp.example:443/acme/default/mcp",
        URL + "?a=b",
        URL + "#c",
        "wss://mcp.example/acme/default/mcp",
    ],
)
def test_one_url_may_be_spelt_in_several_ways(told: str) -> None:
    judged(proof(htu=told))


def test_a_proof_is_known_by_its_key_and_its_own_id() -> None:
    assert read(proof()).mark == read(proof(iat=NOW + 1, htm="GET")).mark
    assert read(proof()).mark != read(proof(jti="two")).mark
    assert read(proof()).mark != read(proof({"jwk": RSA, "alg": "PS256"})).mark


def test_what_a_token_may_be_bound_to() -> None:
    mark = "a" * 43
    assert binding(None) is None
    assert binding({"jkt": mark}) == Binding(jkt=mark)
    assert binding({"x5t#S256": mark, "jkt": mark}) == Binding(jkt=mark, x5t=mark)
    for cnf in ({}, [], "x", True, {"jwk": KEY}, {"jkt": mark, "kid": "x"}, {"jkt": "short"}, {"jkt": 7}, {"jkt": ""}):
        with pytest.raises(BadToken):
            binding(cnf)
