"""Where a server is, how to open a connection to it, and the head of every request sent there."""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from core.address import literal, why_unreached
from core.server import Remote
from data_plane.upstreams.address import Resolver
from data_plane.upstreams.failure import unavailable, unsent

_CONNECT_S = 5.0
_ADDRESSES_TRIED = 4
_HANDSHAKE_S = 10.0

# Set by the client itself: a configured header of these names would break framing, the session or the routing.
_OWN_HEADERS = frozenset(
    b"host content-length transfer-encoding connection keep-alive te trailer upgrade expect accept accept-encoding "
    b"content-type mcp-protocol-version mcp-session-id mcp-method mcp-name last-event-id traceparent tracestate".split()
)
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

P = TypeVar("P", bound=asyncio.Protocol)
RawHeaders = Iterable[tuple[bytes, bytes]]


class Target(NamedTuple):
    """An upstream's address, from its URL."""

    secure: bool
    host: str
    port: int
    path: bytes
    host_header: bytes


SCHEMES: Final = {"http": False, "https": True, "ws": False, "wss": True}
"""To whether it is secure."""


def target_of(url: str) -> Target:
    """Raises Unavailable for what is no URL of these schemes; the control plane refuses those long before."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        ascii_host = host if literal(host) is not None else host.encode("idna").decode("ascii")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        raw_path = path.encode("ascii")
    except ValueError as failure:
        raise unavailable(f"its URL cannot be used: {failure}") from failure
    if parts.scheme not in SCHEMES or not host or any(b <= 32 or b == 127 for b in raw_path):
        raise unavailable("its URL cannot be used: it must be http, https, ws or wss with a host, and hold no blanks")
    secure = SCHEMES[parts.scheme]
    bracketed = f"[{ascii_host}]" if ":" in ascii_host else ascii_host
    shown = bracketed if port is None else f"{bracketed}:{port}"
    return Target(secure, ascii_host, port or (443 if secure else 80), raw_path, shown.encode("ascii"))


def header_block(*groups: RawHeaders) -> bytes:
    """Configured headers as they go on the wire; of one name the last wins. Raises Unavailable for an unfit one."""
    return b"".join(name + b": " + value + b"\r\n" for name, value in headers_of(*groups))


def headers_of(*groups: RawHeaders) -> list[tuple[bytes, bytes]]:
    """As `header_block`, in pairs."""
    chosen: dict[bytes, tuple[bytes, bytes]] = {}
    for group in groups:
        for name, value in group:
            _check_header(name, value)
            chosen[name.lower()] = (name, value)
    return [pair for key, pair in chosen.items() if key not in _OWN_HEADERS and not key.startswith(b"sec-websocket-")]


def _check_header(name: bytes, value: bytes) -> None:
    if not name or not _TOKEN.issuperset(name):
        raise unavailable("a configured header has no valid name")
    if any((b < 32 and b != 9) or b == 127 for b in value):
        raise unavailable(f"the value configured for header {name.decode('ascii')} holds a control character")


def tls_context(transport: Remote) -> ssl.SSLContext:
    """Verifies certificate and name, always. Costs tens of milliseconds: make one per backend. Raises Unavailable."""
    try:
        context = ssl.create_default_context(cadata=transport.ca_pem or None)
    except (ssl.SSLError, ValueError) as failure:
        raise unavailable(f"ca_pem cannot be used: {failure}") from failure
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


async def dial(
    target: Target, resolver: Resolver, tls: ssl.SSLContext | None, allow_private: bool, make: Callable[[], P]
) -> P:
    """Connect to the first allowed address that answers; the environment's proxies are not used. Raises Unavailable."""
    addresses = await resolver.resolve(target.host, allow_private=allow_private)
    failure: Exception = TimeoutError()
    for address in addresses[:_ADDRESSES_TRIED]:
        try:
            return await _open(target, address, tls, make)
        except OSError as error:
            failure = error
    why = "timed out" if isinstance(failure, TimeoutError) else why_unreached(failure)
    raise unsent(f"cannot connect to {target.host}:{target.port}: {why}") from failure


async def _open(target: Target, address: str, tls: ssl.SSLContext | None, make: Callable[[], P]) -> P:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_CONNECT_S):
        if tls is None:
            _, connection = await loop.create_connection(make, address, target.port)
        else:
            _, connection = await loop.create_connection(
                make,
                address,
                target.port,
                ssl=tls,
                server_hostname=target.host,
                ssl_handshake_timeout=_HANDSHAKE_S,
            )
    return connection
