"""What a request line asks for: the path as text, and what it was written as."""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

import httptools

_SHORT: Final = 256
_END: Final = re.compile(rb"[/?#]")


def target(url: bytes) -> tuple[str, bytes, bytes]:
    """Path as text, path and query as bytes. Raises what the parser raises for a callback that fails."""
    return _known(url) if len(url) <= _SHORT else _parsed(url)


def authority(url: bytes) -> bytes:
    """Host and port of a target in absolute form (RFC 9112, section 3.2.2), as `Host` has them. Raises ValueError."""
    scheme, _, rest = url.partition(b"://")
    named = _END.split(rest, maxsplit=1)[0]
    if scheme.lower() not in (b"http", b"https") or not named or b"@" in named:
        raise ValueError("the request target is no path, and no URL of http")
    return named


def _parsed(url: bytes) -> tuple[str, bytes, bytes]:
    parsed = httptools.parse_url(url)
    raw = parsed.path or b"/"
    path = raw.decode("ascii")
    return _decoded(path) if "%" in path else path, raw, parsed.query or b""


def _decoded(path: str) -> str:
    """A slash that is written as data stays so: it parts no segments, and leads nowhere."""
    return unquote(path.replace("%2F", "%252F").replace("%2f", "%252F"))


_known = lru_cache(maxsize=1024)(_parsed)
