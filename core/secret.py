"""Values that are written once and never shown again."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from core.resource import Problem, Ref


class Secret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A secret value. `value` is write-only: it is sealed on arrival and every reading shows it absent."""

    value: str | None = None
    """Required when the Secret is created; leave it out to keep the value stored."""
    description: str = ""

    def problems(self) -> Iterator[Problem]:
        if self.value is not None and not self.value:
            yield Problem("spec.value", "must not be empty")
        if self.value is not None and len(self.value) > 64 * 1024:
            yield Problem("spec.value", "must be at most 64 KiB")

    def references(self) -> Iterator[tuple[str, Ref]]:
        yield from ()


class Sealed(msgspec.Struct, frozen=True):
    """A value under a key-encryption key."""

    key_id: str
    sealed: bytes


class SealedValues(Protocol):
    """Sealed values by what they belong to: a Secret's value, a Tenant's own keys (name "": the platform's)."""

    async def of(self, tenant: str, kind: str) -> dict[Ref, Sealed]:
        """A tenant's "Secret" values, or its own keys (kind "Tenant": one or none)."""
        ...

    async def keep(self, ref: Ref, value: Sealed) -> Sealed:
        """Keep `value` unless there is one already; the one kept."""
        ...

    async def not_under(self, key_id: str, limit: int) -> list[tuple[Ref, Sealed]]:
        """Values sealed under other keys."""
        ...

    async def reseal(self, ref: Ref, old: Sealed, new: Sealed) -> bool:
        """Replace `old` if it is still there."""
        ...
