"""How an endpoint names its servers' resources: by their own URIs, and where two servers have the same, by one more.

The first member keeps the URI. Every later one's is written with its server: `{server}+{uri}`, a scheme of its own
that nobody takes for something to fetch; a scheme must begin with a letter, so a server whose name does not is written
`x-{server}`. Hosts of MCP Apps know their pages by the scheme `ui`, which therefore stays: `ui://{server}/{rest}`.
"""

import re
from typing import Final

MAX_CHARS: Final = 4096
"""Of a URI that is not listed: it is matched character by character, and decisions about it are remembered."""
_UI = "ui://"
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_SLASH = re.compile(r"%2[Ff]")
_TWICE = re.compile(r"%25[0-9A-Fa-f]{2}")
_DOTS = re.compile(r"(?:^|/)\.{1,2}(?=[/?#]|$)")


def exposed(server: str, uri: str) -> str:
    """The URI (or template) of a server as it is written where another server's has its place."""
    if uri.startswith(_UI):
        return f"{_UI}{server}/{uri.removeprefix(_UI)}"
    return f"{_mark(server)}{uri}"


def original(server: str, uri: str) -> str | None:
    """What `exposed` was made of; None for what it did not make for this server."""
    own = f"{_UI}{server}/"
    if uri.startswith(own):
        return _UI + uri.removeprefix(own)
    mark = _mark(server)
    return uri.removeprefix(mark) if uri.startswith(mark) and len(uri) > len(mark) else None


def _mark(server: str) -> str:
    return f"{server}+" if server[:1].isalpha() else f"x-{server}+"


def plain(uri: str) -> bool:
    """Whether it can only be read one way: policies are about the text, and servers resolve and unescape it.

    No `.` or `..` segments, also between escaped slashes; no backslashes, no control characters; and nothing escaped
    that need not be, or twice. Nor is it longer than MAX_CHARS.
    """
    if (
        len(uri) > MAX_CHARS
        or not uri.isprintable()
        or "\\" in uri
        or _TWICE.search(uri)
        or _DOTS.search(_SLASH.sub("/", uri))
    ):
        return False
    escaped = {chr(int(found[1], 16)) for found in _ESCAPED.finditer(uri)}
    return not any(char == "\\" or ord(char) < 32 or _UNRESERVED.match(char) for char in escaped)
