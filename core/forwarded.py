"""Whose request it is, where proxies hand it on: addresses as `X-Forwarded-For` or RFC 7239's `Forwarded` tell them.

Only what a trusted proxy says is believed. Each proxy appends who it was asked by, so the header is read from its end:
past proxies that are trusted, the first address that is none of them is the client's; what stands before it is a
stranger's own word.
"""

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal

Network = IPv4Network | IPv6Network
HeaderName = Literal["x-forwarded-for", "forwarded"]

HOPS_MAX = 32
"""Proxies on the way; what a longer header says further back is not read."""
IPV6_PREFIX = 64
"""What one subscriber has: limits by address count an IPv6 network of this size as one (RFC 6177, section 2)."""

_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"([^"]*)"|([^";,\s]+))\s*(?=;|$)', re.IGNORECASE)
_ITEM = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')


class Proxies:
    """Those that are believed."""

    def __init__(self, networks: Sequence[str], header: HeaderName = "x-forwarded-for") -> None:
        """`networks`: CIDRs. Raises ValueError."""
        self.header = header
        self._networks: tuple[Network, ...] = tuple(ip_network(text) for text in networks)

    def client(self, peer: str, values: Sequence[str]) -> str:
        """The client's address; `peer`: who is connected, `values`: the header's lines in their order.

        What cannot be read ends the way back: the last address that could be is the client's.
        """
        if not self.trusts(peer):
            return peer
        found = peer
        for hop, said in enumerate(self._backwards(values)):
            if said is None or hop >= HOPS_MAX:
                break
            found = said
            if not self.trusts(said):
                break
        return found

    def trusts(self, address: str) -> bool:
        """Whether it is the address of one of them."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks if network.version == parsed.version)

    def _backwards(self, values: Sequence[str]) -> Iterator[str | None]:
        for value in reversed(values):
            if value.count('"') % 2:
                yield None
            items = _ITEM.findall(value) if self.header == "forwarded" else value.split(",")
            for item in reversed(items):
                yield _address(_for(item) if self.header == "forwarded" else item)


def _for(item: str) -> str:
    found = _FOR.search(item.strip())
    return (found[1] or found[2] or "") if found else ""


def _address(text: str) -> str | None:
    """`192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`; None for anything else."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def counted(address: str) -> str:
    """What a limit by address counts as one: an IPv4 address, or an IPv6 network."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    if parsed.version == 4:
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(ip_network((parsed, IPV6_PREFIX), strict=False))
