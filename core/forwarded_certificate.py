"""`X-Forwarded-Client-Cert`, as Envoy writes it: a client's certificate as the proxy that speaks TLS with it tells.

Of several elements the last counts: the nearest proxy's word on who is connected to it. What cannot be read tells of
no certificate at all.
"""

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final
from urllib.parse import unquote_to_bytes

from core.certificate import CHAIN_MAX, Names, Shown, ders, shown, told

HEADER: Final = b"x-forwarded-client-cert"
MAX_CHARS: Final = 32 * 1024

_PAIR: Final = re.compile(r'\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;]*)\s*([;,]|\Z)')
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ATTRIBUTE: Final = re.compile(r"(?:\\.|[^,+\\])+", re.DOTALL)
_HEXADECIMAL: Final = re.compile(r"\\[0-9A-Fa-f]{2}")


def certificate(lines: Sequence[str]) -> Shown | None:
    """`lines`: of the header, in their order. None: none is told of, or what is said does not go together."""
    text = ",".join(lines)
    if not text or len(text) > MAX_CHARS:
        return None
    element = _last(text)
    if element is None:
        return None
    try:
        return _read(element)
    except ValueError:
        return None


def _last(text: str) -> list[tuple[str, str]] | None:
    """The pairs of the last element; None where any of them is none."""
    element: list[tuple[str, str]] = []
    at, ended = 0, ","
    while ended:
        pair = _PAIR.match(text, at)
        if pair is None:
            return None
        if ended == "," and element:
            element = []
        element.append((pair[1].lower(), _plain(pair[2])))
        at, ended = pair.end(), pair[3]
    return element


def _plain(value: str) -> str:
    """Without its quotes. A subject's own escapes stay: Envoy adds none of its own."""
    return value[1:-1] if value.startswith('"') else value


def _read(element: Sequence[tuple[str, str]]) -> Shown | None:
    """Raises ValueError."""
    for key in ("hash", "cert", "chain", "subject"):
        if len(_all(element, key)) > 1:
            raise ValueError(key)
    hashed = b"".join(bytes.fromhex(value) for value in _all(element, "hash"))
    if hashed and len(hashed) != sha256().digest_size:
        raise ValueError("hash")
    own = [der for value in _all(element, "cert") for der in _certificates(value)]
    chain = [der for value in _all(element, "chain") for der in _certificates(value)]
    if own and chain and own[0] != chain[0]:
        raise ValueError("chain")
    found = chain or own
    if not found:
        return _told(element, hashed)
    if len(own) > 1 or len(found) > CHAIN_MAX or (hashed and sha256(found[0]).digest() != hashed):
        raise ValueError("cert")
    return shown(found)


def _told(element: Sequence[tuple[str, str]], hashed: bytes) -> Shown | None:
    subject = next(iter(_all(element, "subject")), "")
    common = list(_common_names(subject))
    names = Names(
        uris=tuple(value for value in _all(element, "uri") if value),
        dns=tuple(value for value in _all(element, "dns") if value),
        cn=common[0] if len(common) == 1 else "",
    )
    return told(names, hashed) if hashed or names != Names() else None


def _common_names(subject: str) -> Iterator[str]:
    """Of a distinguished name (RFC 2253). One with bytes in hexadecimal is left out."""
    for attribute in _ATTRIBUTE.findall(subject):
        kind, _, value = attribute.partition("=")
        if kind.strip().upper() == "CN":
            yield "" if _HEXADECIMAL.search(value) else _ESCAPED.sub(r"\1", value).strip()


def _all(element: Sequence[tuple[str, str]], key: str) -> list[str]:
    return [value for name, value in element if name == key and value]


def _certificates(value: str) -> list[bytes]:
    return ders(unquote_to_bytes(value).decode("ascii"))
