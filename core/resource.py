"""What every declared thing has in common: its envelope, its name rules and the problems found in it."""

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Protocol

import msgspec

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
NAME_RULE = "must be 1-63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
LABEL_KEY = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._/-]{0,126}[a-zA-Z0-9])?")
LABEL_VALUE = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?)?")

_encoder = msgspec.msgpack.Encoder(order="deterministic")


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a resource: where, and which rule it breaks."""

    path: str
    """Dotted, from the envelope down: `spec.transport.url`, `spec.members[2].server`, `labels.team`."""
    rule: str


class Ref(msgspec.Struct, frozen=True, order=True):
    """A resource's address. `tenant` is empty for platform-scope kinds. Names are unique per tenant and kind."""

    kind: str
    tenant: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class Spec(Protocol):
    """What every kind's Struct offers beyond its fields."""

    def problems(self) -> Iterator[Problem]:
        """Rules that types cannot say, checked on this resource alone. Paths start at `spec`."""
        ...

    def references(self) -> Iterator[tuple[str, Ref]]:
        """(path, Ref) of the resources this one names; `Ref.tenant` is left empty: always the own tenant."""
        ...


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A stored resource. `spec` is one of the Structs in `core.kinds`."""

    kind: str
    tenant: str
    name: str
    spec: Spec
    namespace: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    generation: int = 0
    status: dict[str, object] = msgspec.field(default_factory=dict)
    created_unix: float = 0.0
    updated_unix: float = 0.0

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.tenant, self.name)


def encode(value: object) -> bytes:
    """Canonical msgpack: the same value gives the same bytes, so that bytes can be digested and signed."""
    return _encoder.encode(value)


def digest(data: bytes) -> bytes:
    """BLAKE2b-256."""
    return blake2b(data, digest_size=32).digest()
