"""`WWW-Authenticate` of a protected resource (RFC 6750, section 3; RFC 9728, section 5.1), and what describes it."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")
"""RFC 6749, section 3.3."""
SCOPE_RULE: Final = "must be 1-128 printable characters without blanks, quotes and backslashes"
REALM: Final = 'Bearer realm="toolgate"'


def challenge(metadata: str, scopes: Sequence[str] = (), error: str = "") -> str:
    """`metadata`: URL of what describes the resource; `scopes`: all that the request needs."""
    said = [REALM]
    if error:
        said.append(f'error="{error}"')
    if scopes:
        said.append(f'scope="{" ".join(scopes)}"')
    if metadata:
        said.append(f'resource_metadata="{metadata}"')
    return ", ".join(said)


class Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """OAuth 2.0 Protected Resource Metadata (RFC 9728, section 2)."""

    resource: str
    authorization_servers: list[str]
    bearer_methods_supported: list[str]
    scopes_supported: list[str] = []
    resource_name: str = ""
    dpop_signing_alg_values_supported: list[str] = []
    """RFC 9449, section 5.1."""


def metadata(
    resource: str, issuers: Iterable[str], scopes: Iterable[str], name: str, proofs: Iterable[str] = ()
) -> bytes:
    """JSON. `scopes`: all that anything here may need, in no order. `proofs`: algorithms of proofs of possession."""
    return msgspec.json.encode(
        Metadata(
            resource=resource,
            authorization_servers=list(issuers),
            bearer_methods_supported=["header"],
            scopes_supported=sorted(set(scopes)),
            resource_name=name,
            dpop_signing_alg_values_supported=list(proofs),
        )
    )
