"""Fuzzed like `tests.fuzz.targets`: who agents say they are."""

from base64 import urlsafe_b64encode
from contextlib import suppress

from core import dpop
from core.certificate import BadCertificate, NameRule, Names, named
from core.forwarded_certificate import certificate

_RULE = NameRule(kind="uri", match="spiffe://acme.example/*", agent="$1")
_HERE = "https://mcp.example/acme/default/mcp"


def identity(data: bytes) -> None:
    """A line of `X-Forwarded-Client-Cert`, and header and claims of a proof of possession, a line each."""
    told, _, proof = data.partition(b"\n")
    found = certificate([told.decode("latin-1")])
    if found is not None:
        assert found.chain or found.names is not None
        with suppress(BadCertificate):
            named(found.names or Names(), [_RULE])
    head, _, claims = proof.partition(b"\n")
    raw = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (head, claims, b"signature"))
    with suppress(dpop.BadProof):
        read = dpop.read(raw)
        dpop.judge(read, method="POST", url=_HERE, now_unix=1.8e9, token=b"token")
        assert read.claims["htm"] == "POST"
        assert len(read.mark) == 16
