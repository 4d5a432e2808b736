"""Ports to signatures of tokens and to hashes of passwords."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

TOKEN_MAX: Final = 16 * 1024

Claims = dict[str, object]


class BadToken(Exception):
    """It is no token, or none that one of the keys signed. Its text says which, and repeats nothing of the token."""


class Token(NamedTuple):
    """Verified as to its signature; whether it is good now, and here, is the caller's to judge."""

    header: Claims
    claims: Claims


class Jose(Protocol):
    def new_key(self) -> tuple[bytes, dict[str, str]]:
        """A key for ES256: the private half as a secret to be sealed, and the public one as a JWK with `kid`."""
        ...

    def sign(self, private: bytes, header: Mapping[str, str], claims: Claims) -> str:
        """A JWT, compact; `header` is `typ` and whatever else, `alg` and `kid` aside."""
        ...

    def verify(self, token: str, keys: Sequence[Mapping[str, object]]) -> Token:
        """Raises BadToken. `keys` are public JWKs."""
        ...

    def peek(self, token: str) -> Token:
        """What it claims, proven by nobody: to find out whose keys to ask. Raises BadToken."""
        ...


class Passwords(Protocol):
    """Slow by design, so it waits its turn. Raises Rejected(UNAVAILABLE) where too many wait."""

    async def hash(self, password: str) -> str: ...

    async def matches(self, hashed: str, password: str) -> bool:
        """`hashed` empty: False, after as long as it takes to find out."""
        ...
