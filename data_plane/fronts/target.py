"""What a request line asks for: the path as text, and what it was written as."""

from functools import lru_cache
from typing import Final
from urllib.parse import unquote

import httptools

_SHORT: Final = 256


def target(url: bytes) -> tuple[str, bytes, bytes]:
    """Path as text, path and query as bytes. Raises what the parser raises for a callback that fails."""
    return _known(url) if len(url) <= _SHORT else _parsed(url)


def _parsed(url: bytes) -> tuple[str, bytes, bytes]:
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return _decoded(path) if "%" in path else path, parsed.path, parsed.query or b""


def _decoded(path: str) -> str:
    """A slash that is written as data stays so: it parts no segments, and leads nowhere."""
    return unquote(path.replace("%2F", "%252F").replace("%2f", "%252F"))


_known = lru_cache(maxsize=1024)(_parsed)
