"""The few ASGI shapes a raw application needs, and answers that are one piece."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence

Scope = MutableMapping[str, object]
Event = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Header = tuple[bytes, bytes]

SHOWN = "toolgate.certificate"
"""Scope member holding the client's certificate (`core.certificate.Shown`), where it showed one."""

POSSESSION = "toolgate.possession"
"""Scope member holding the request's proof of possession (`core.dpop.Possession`), where it brought one."""

JSON: Header = (b"content-type", b"application/json")
NOSNIFF: Header = (b"x-content-type-options", b"nosniff")
NO_STORE: Header = (b"cache-control", b"no-store")


_BODY = "http.response.body"
_START = "http.response.start"


def start(status: int, headers: Sequence[Header]) -> Event:
    return {"type": _START, "status": status, "headers": headers}


def chunk(body: bytes, *, more: bool) -> Event:
    return {"type": _BODY, "body": body, "more_body": more}


async def answer(send: Send, status: int, headers: Sequence[Header], body: bytes = b"") -> None:
    """A whole response. `headers` lack only the length."""
    await send({"type": _START, "status": status, "headers": [*headers, (b"content-length", b"%d" % len(body))]})
    await send({"type": _BODY, "body": body})
