"""Values that are written once and never shown again."""

from collections.abc import Iterator

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
