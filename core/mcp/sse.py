"""Server-sent events as MCP uses them: one JSON-RPC message per event."""

PING = b": ping\n\n"
"""A comment: keeps proxies from closing a silent stream."""

_NEWLINES = bytes.maketrans(b"\r\n", b"  ")


def event(message: bytes, id: str = "") -> bytes:  # noqa: A002
    """One event. A line break in JSON can only be layout between tokens, so a blank stands in for it."""
    if b"\n" in message or b"\r" in message:
        message = message.translate(_NEWLINES)
    if id:
        return b"id: %b\nevent: message\ndata: %b\n\n" % (id.encode("ascii"), message)
    return b"event: message\ndata: " + message + b"\n\n"


def priming(id: str, retry_ms: int) -> bytes:  # noqa: A002
    """The first event of a stream that may be taken up again, with nothing in it: from here on, and how soon."""
    return b"id: %b\nretry: %d\ndata: \n\n" % (id.encode("ascii"), retry_ms)
