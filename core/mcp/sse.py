"""Server-sent events as MCP uses them: one JSON-RPC message per event."""

PING = b": ping\n\n"
"""A comment: keeps proxies from closing a silent stream."""

_NEWLINES = bytes.maketrans(b"\r\n", b"  ")


def event(message: bytes) -> bytes:
    """One event. A line break in JSON can only be layout between tokens, so a blank stands in for it."""
    if b"\n" in message or b"\r" in message:
        message = message.translate(_NEWLINES)
    return b"event: message\ndata: " + message + b"\n\n"
