"""Values that are written once and never shown again, and where they come from if not from whoever declares them."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from core.bound import Room
from core.resource import Problem, Ref, digest, encode

MAX_CHARS = 64 * 1024
DAY_S = 86_400


class VaultSource(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="vault"
):
    """One key of a secret in a Vault-compatible key-value store."""

    store: str
    """Name of a SecretStore."""
    path: str
    """Below the store's mount, such as `shop/upstream`."""
    key: str
    """Its value must be text."""
    version: int = 0
    """Of the secret; 0: the newest. For stores of version 2."""


class FileSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="file"):
    """A file the operator mounted for the tenant, such as a Kubernetes Secret's."""

    path: str
    """Below the tenant's own folder in `TOOLGATE_SECRET_FILES`. One line break at the end is not part of the value."""
    refresh_s: int = 10
    grace_s: int = 60
    """How long the last value goes on once the file cannot be read."""


SecretSource = VaultSource | FileSource


class Secret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A secret value. `value` is write-only: it is sealed on arrival and every reading shows it absent."""

    value: str | None = None
    """Required when the Secret is created without `source`; leave it out to keep the value stored."""
    source: SecretSource | None = None
    """Where the value is read from, again and again; none: it is `value`."""
    description: str = ""

    def problems(self) -> Iterator[Problem]:
        if self.value is not None and not self.value:
            yield Problem("spec.value", "must not be empty")
        if self.value is not None and len(self.value) > MAX_CHARS:
            yield Problem("spec.value", "must be at most 64 KiB")
        if self.value is not None and self.source is not None:
            yield Problem("spec.value", "must not be given beside source")
        if isinstance(self.source, VaultSource):
            yield from _vault_problems(self.source)
        elif self.source is not None:
            yield from _file_problems(self.source)

    def references(self) -> Iterator[tuple[str, Ref]]:
        if isinstance(self.source, VaultSource):
            yield "spec.source.store", Ref("SecretStore", "", self.source.store)


def is_path(text: str) -> bool:
    """Parts of printable characters with a slash between them, none of them a way up or nothing."""
    parts = text.split("/")
    return 0 < len(text) <= 512 and text.isprintable() and all(part not in ("", ".", "..") for part in parts)


PATH_RULE = "must be a relative path of printable characters without empty parts, . and .."


def _vault_problems(source: VaultSource) -> Iterator[Problem]:
    if not is_path(source.path):
        yield Problem("spec.source.path", PATH_RULE)
    if not 0 < len(source.key) <= 256:
        yield Problem("spec.source.key", "must be 1-256 characters")
    if not 0 <= source.version < 2**31:
        yield Problem("spec.source.version", "must not be negative")


def _file_problems(source: FileSource) -> Iterator[Problem]:
    if not is_path(source.path):
        yield Problem("spec.source.path", PATH_RULE)
    if not 5 <= source.refresh_s <= DAY_S:
        yield Problem("spec.source.refresh_s", f"must be 5-{DAY_S}")
    if not 0 <= source.grace_s <= 30 * DAY_S:
        yield Problem("spec.source.grace_s", f"must be 0-{30 * DAY_S}")


class Sealed(msgspec.Struct, frozen=True):
    """A value under a key-encryption key."""

    key_id: str
    sealed: bytes


class SealedValues(Protocol):
    """Sealed values by what they belong to: a Secret's value, a Tenant's own keys (name "": the platform's)."""

    async def of(self, tenant: str, kind: str) -> dict[Ref, Sealed]:
        """A tenant's "Secret" values, or its own keys (kind "Tenant": one or none)."""
        ...

    async def one(self, ref: Ref) -> Sealed | None: ...

    async def keep(self, ref: Ref, value: Sealed) -> Sealed:
        """Keep `value` unless there is one already; the one kept."""
        ...

    async def not_under(self, key_id: str, limit: int) -> list[tuple[Ref, Sealed]]:
        """Values sealed under other keys."""
        ...

    async def reseal(self, ref: Ref, old: Sealed, new: Sealed) -> bool:
        """Replace `old` if it is still there."""
        ...


# === values that come from elsewhere ===


class NoValue(Exception):
    """There is no value now. The text is for an administrator, and holds none.

    `gone`: its source says that there is none, or none any more; else nobody can tell, and the last one may go on.
    """

    def __init__(self, text: str, *, gone: bool = False) -> None:
        super().__init__(text)
        self.gone = gone


class DueSecret(msgspec.Struct, frozen=True):
    """A Secret whose source is to be read, for this replica alone until the lease is over."""

    tenant: str
    name: str
    generation: int
    spec: Secret
    seen_unix: float | None
    """When its source last gave a value; None: not yet, as it is declared now."""
    failures: int

    @property
    def ref(self) -> Ref:
        return Ref("Secret", self.tenant, self.name)


class DueSecrets(Protocol):
    """Whose source is to be read when. Every method raises Rejected(UNAVAILABLE) when the store is away."""

    async def claim(self, room: Room, lease_s: float) -> list[DueSecret]:
        """Those that are due, and those declared otherwise since they were read."""
        ...

    async def done(self, due: DueSecret, *, ok: bool, seen_unix: float | None, next_s: float) -> None:
        """It was read, or tried: again so long from now. Nothing is kept where it is declared otherwise by now."""
        ...


class SecretFiles(Protocol):
    """Files an operator mounted, a folder for each tenant."""

    def read(self, tenant: str, path: str) -> bytes:
        """Blocking. Raises NoValue, also for a path that leads out of the tenant's folder."""
        ...


def source_mark(spec: Secret) -> bytes:
    """Equal where the value comes from the same place."""
    return digest(encode(spec.source))[:16]
