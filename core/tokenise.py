"""Tokens that stand for values: the value itself, sealed under the tenant's key, so that nothing need be stored.

`[token:card:<base64url>]`. Sealing is deterministic (`docs/decisions/0026-tokens-hold-what-they-stand-for.md`): equal
values of a tenant are equal tokens, and agents can tell values apart without seeing them.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator
from typing import Final, NamedTuple

import msgspec

from core.json_splice import Scalar, scalars, unquote
from core.sealing import SealBroken, Sealer

VALUE_MAX_BYTES: Final = 256
"""UTF-8 bytes of a value; a longer one is masked, and kept nowhere."""
TOKEN_MAX_CHARS: Final = 480
NESTED: Final = 3
"""JSON inside a string inside JSON is read as JSON so deep, as it is masked."""
MARK: Final = b"[token:"

_BLOCK: Final = 16
"""Values are padded to whole blocks, so that a token's length does not tell its value's."""
_PAD: Final = b"\x80"
_TOKEN: Final = re.compile(r"\[token:([a-z0-9_:.-]{1,64}):([A-Za-z0-9_-]{40,400})\]")


class Revealed(NamedTuple):
    """What a token stands for."""

    detector: str
    value: str


class ValueTokens:
    """Makes and opens the tokens of one tenant. Immutable."""

    def __init__(self, tenant: str, data_key: bytes, sealer: Sealer) -> None:
        """`sealer` must seal equal values alike: with a random nonce, tokens would say nothing of equality."""
        self._tenant = tenant
        self._key = data_key
        self._sealer = sealer

    def token(self, detector: str, value: str) -> str:
        """What stands for the value; empty: it is too long, or no text that can be written."""
        try:
            plain = value.encode()
        except UnicodeEncodeError:
            return ""
        if not 0 < len(plain) <= VALUE_MAX_BYTES:
            return ""
        padded = plain + _PAD
        padded += bytes(-len(padded) % _BLOCK)
        sealed = self._sealer.seal(self._key, padded, self._context(detector))
        return f"[token:{detector}:{urlsafe_b64encode(sealed).rstrip(b'=').decode()}]"

    def open(self, token: str) -> Revealed | None:
        """What it stands for; None: it is no token of this tenant."""
        match = _TOKEN.fullmatch(token)
        return self._opened(match) if match is not None else None

    def within(self, text: str) -> Iterator[tuple[int, int, Revealed]]:
        """The tenant's own tokens in a text: (start, end, what it stands for). Others only look like some."""
        for match in _TOKEN.finditer(text):
            found = self._opened(match)
            if found is not None:
                yield match.start(), match.end(), found

    def restored(self, raw: bytes, detectors: Collection[str]) -> bytes:
        """The JSON with the tokens of these detectors as the values they stand for; the same object if there is none.

        Names of members are left as they are.
        """
        if MARK not in raw:
            return raw
        text = raw.decode()
        done = self._restored(text, detectors, NESTED)
        return raw if done == text else done.encode()

    def _restored(self, text: str, detectors: Collection[str], depth: int) -> str:
        parts: list[str] = []
        done = 0
        for scalar in scalars(text):
            if scalar.is_key or not scalar.is_string or "[token:" not in text[scalar.start : scalar.end]:
                continue
            parts += (text[done : scalar.start], self._spoken(text, scalar, detectors, depth))
            done = scalar.end
        parts.append(text[done:])
        return "".join(parts)

    def _spoken(self, text: str, scalar: Scalar, detectors: Collection[str], depth: int) -> str:
        token = text[scalar.start : scalar.end]
        inner = unquote(token)
        if inner is None:
            return token
        if depth and inner.lstrip()[:1] in ("{", "[") and _is_json(inner):
            within = self._restored(inner, detectors, depth - 1)
            return token if within == inner else msgspec.json.encode(within).decode()
        return _TOKEN.sub(self._replacing(detectors), token)

    def _replacing(self, detectors: Collection[str]) -> Callable[[re.Match[str]], str]:
        def value(match: re.Match[str]) -> str:
            found = self._opened(match) if match[1] in detectors else None
            return match[0] if found is None else msgspec.json.encode(found.value).decode()[1:-1]

        return value

    def _opened(self, match: re.Match[str]) -> Revealed | None:
        try:
            sealed = urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4))
            padded = self._sealer.open(self._key, sealed, self._context(match[1]))
            return Revealed(match[1], padded.rstrip(b"\0")[: -len(_PAD)].decode())
        except (SealBroken, ValueError):
            return None

    def _context(self, detector: str) -> bytes:
        return f"toolgate token v1 {self._tenant} {detector}".encode()


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True
