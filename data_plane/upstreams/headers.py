"""Values of `Mcp-Name` and `Mcp-Param-*` (MCP 2026-07-28, Streamable HTTP, "Header value encoding")."""

from base64 import b64encode
from functools import lru_cache

_OPEN, _CLOSE = "=?base64?", "?="


@lru_cache(4096)
def encode_value(value: str) -> bytes:
    """Verbatim if it is printable ASCII without edge blanks and no sentinel itself; else base64 of UTF-8, marked."""
    plain = value.isascii() and value.isprintable() and value == value.strip()
    if plain and not (value.startswith(_OPEN) and value.endswith(_CLOSE)):
        return value.encode("ascii")
    return f"{_OPEN}{b64encode(value.encode()).decode('ascii')}{_CLOSE}".encode("ascii")
