"""Whose client certificates this node's TLS may take: all tenants' authorities, before it is known who is meant.

OpenSSL looks for who signed a certificate by name and key id, and tries one alone. So of two tenants' authorities that
are alike in both and have other keys the one that was declared first counts: no tenant can be in another's way.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from core.bound import Bound
from core.certificate import blocks
from core.snapshot import Authorities
from data_plane.supervisor.receiver import InForce

log = logging.getLogger("toolgate.anchors")

MOST: Final = 5000
"""On one node: all are in every worker's memory, and looked through at each handshake that brings a certificate."""

Ancestry = Callable[[str], Iterator[tuple[bytes, bytes, bytes]]]
"""A PEM block to (DER, subject and key id, public key); nothing for what is no anchor."""


class Anchor(NamedTuple):
    since_unix: float
    tenant: str
    der: bytes
    name: bytes
    key: bytes


class ClientAnchors:
    """Follows what is in force on the node."""

    def __init__(self, in_force: Mapping[str, InForce], read: Callable[[bytes], bytes], ancestry: Ancestry) -> None:
        """`read`: a part by its digest. Raises OSError or ValueError."""
        self._in_force = in_force
        self._read = read
        self._ancestry = ancestry
        self._of: dict[str, tuple[bytes, tuple[Anchor, ...]]] = {}
        """Tenant to its part, and what is in it."""
        self._left_out = 0
        self.told: Callable[[tuple[bytes, ...]], None] = lambda _: None
        """Told of all of them whenever they are others; set by the root."""

    @property
    def bound(self) -> Bound:
        return Bound(sum(len(anchors) for _, anchors in self._of.values()), MOST, self._left_out)

    def load(self) -> None:
        """What is in force at the start."""
        for tenant, held in self._in_force.items():
            if held.authorities:
                self._of[tenant] = (held.authorities, self._anchors(tenant, held.authorities))
        if self._of:
            self.told(self.union())

    def changed(self, tenant: str) -> None:
        """A tenant's snapshot was replaced or withdrawn."""
        held = self._in_force.get(tenant)
        part = held.authorities if held is not None else b""
        before = self._of.get(tenant, (b"", ()))
        if part == before[0]:
            return
        self._of.pop(tenant, None)
        if part:
            self._of[tenant] = (part, self._anchors(tenant, part))
        if self._of.get(tenant, (b"", ()))[1] != before[1]:
            self.told(self.union())

    def union(self) -> tuple[bytes, ...]:
        """DER, in the order they were declared."""
        by_name: dict[bytes, Anchor] = {}
        found: dict[bytes, None] = {}
        for anchor in sorted(one for _, anchors in self._of.values() for one in anchors):
            first = by_name.setdefault(anchor.name, anchor)
            if first.key != anchor.key and first.tenant != anchor.tenant:
                self._left_out += 1
                log.warning(
                    "tenant %s: an authority has the name of one of tenant %s, and another key: TLS does not take it",
                    anchor.tenant,
                    first.tenant,
                )
            elif len(found) < MOST:
                found[anchor.der] = None
            elif anchor.der not in found:
                self._left_out += 1
        return tuple(found)

    def _anchors(self, tenant: str, part: bytes) -> tuple[Anchor, ...]:
        try:
            authorities = msgspec.msgpack.decode(self._read(part), type=Authorities).authorities
        except (OSError, ValueError):
            log.exception("tenant %s: its authorities cannot be read", tenant)
            return ()
        return tuple(
            Anchor(one.since_unix, tenant, *found)
            for one in authorities
            for pem in blocks(one.authority.anchors_pem)
            for found in self._ancestry(pem)
        )
