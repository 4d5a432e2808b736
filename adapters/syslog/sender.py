"""Messages to a syslog receiver, over UDP (RFC 5426), TCP with octet counting (RFC 6587) or TLS (RFC 5425).

Syslog answers nothing. Over TCP and TLS messages count as delivered once the receiver's system has acknowledged every
byte and has not hung up: what it loses afterwards, or a datagram that gets lost, nobody is told.
"""

import asyncio
import fcntl
import os
import socket
import ssl
import struct
import termios
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import lru_cache

from core.address import literal, refuses, why_unreached
from core.audit_sink import TIMEOUT_S, SyslogTo
from core.syslog import datagram, framed
from core.web import Unreachable

_ADDRESSES_TRIED = 4
_LOOK_AGAIN_S = 0.01
_PARTING_S = 1.0
"""For the receiver's own goodbye, where TLS has one."""

Lookup = Callable[[str], Coroutine[None, None, Sequence[str]]]
"""A host name to address literals, in order of preference. Raises OSError."""


class SyslogSender:
    """Implements `core.audit_sink.Syslog`: a connection for each batch, to an address that was judged."""

    def __init__(self, *, lookup: Lookup | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._lookup = lookup or _getaddrinfo
        self._timeout_s = timeout_s

    async def send(self, to: SyslogTo, messages: list[bytes]) -> None:
        place = f"{to.transport}://{to.host}:{to.port}"
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._allowed(to)
                if to.transport == "udp":
                    await _scatter(addresses[0], to.port, messages)
                else:
                    await _stream(to, addresses, framed(messages))
        except TimeoutError as late:
            raise Unreachable(f"{place}: not taken within {self._timeout_s:g} s") from late
        except (OSError, ValueError) as failure:
            raise Unreachable(f"{place}: {_why(failure)}") from failure

    async def _allowed(self, to: SyslogTo) -> list[str]:
        found = [to.host] if literal(to.host) is not None else await self._lookup(to.host)
        allowed = [one for one in found if to.allow_private or not refuses(one)]
        if not allowed:
            raise ValueError(f"{to.host} resolves to private addresses only, which takes allow_private")
        return allowed[:_ADDRESSES_TRIED]


def _why(failure: Exception) -> str:
    """asyncio says of a connection where it was to go, and not what the system said."""
    told = isinstance(failure, OSError) and not isinstance(failure, ssl.SSLError) and failure.errno
    return os.strerror(told) if told else why_unreached(failure)


async def _stream(to: SyslogTo, addresses: Sequence[str], data: bytes) -> None:
    context = _context(to.ca_pem) if to.transport == "tls" else None
    name = to.host if context is not None else None
    failure: OSError = TimeoutError("no address")
    for address in addresses:
        try:
            reader, writer = await asyncio.open_connection(address, to.port, ssl=context, server_hostname=name)
            break
        except OSError as error:
            failure = error
    else:
        raise failure
    try:
        writer.transport.set_write_buffer_limits(0)
        writer.write(data)
        await writer.drain()
        await _acknowledged(writer)
        if reader.at_eof() or reader.exception() is not None or writer.transport.is_closing():
            raise ConnectionResetError("the receiver hung up")
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_PARTING_S):
                await writer.wait_closed()
    finally:
        # What was not taken is not waited for: it is sent again.
        writer.transport.abort()


async def _acknowledged(writer: asyncio.StreamWriter) -> None:
    """Until the receiver's system has all of it; where this system cannot tell, at once."""
    sock = writer.get_extra_info("socket")
    while not writer.transport.is_closing():
        try:
            answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        except OSError:
            return
        if not struct.unpack("i", answer)[0]:
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _scatter(address: str, port: int, messages: list[bytes]) -> None:
    """A datagram each. Raises OSError where this system learns that nobody is there."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((address, port))
        for one in messages:
            await loop.sock_sendall(sock, datagram(one))


@lru_cache(maxsize=64)
def _context(ca_pem: str) -> ssl.SSLContext:
    """Verifies certificate and name, always. Raises ValueError."""
    try:
        context = ssl.create_default_context(cadata=ca_pem or None)
    except ssl.SSLError as failure:
        raise ValueError(f"ca_pem cannot be used: {failure}") from failure
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _getaddrinfo(host: str) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
