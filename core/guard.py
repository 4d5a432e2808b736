"""What must not go in or out: guards as declared, findings, and the port to the matcher."""

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import msgspec

from core.resource import Problem, Ref

Action = Literal["block", "mask", "report"]
Direction = Literal["in", "out"]

DETECTORS = (
    "card",
    "us_ssn",
    "iban",
    "email",
    "phone",
    "aws_key",
    "gcp_key",
    "azure_key",
    "github_token",
    "slack_token",
    "stripe_key",
    "openai_key",
    "anthropic_key",
    "toolgate_key",
    "generic_api_key",
    "private_key",
    "jwt",
)
"""Names of the shipped detectors; the same in config, findings, metrics and masks."""


class Guard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Detectors over what goes in (arguments) and out (results), and what is done when one fires."""

    detectors: list[str]
    action: Action = "mask"
    actions: dict[str, Action] = msgspec.field(default_factory=dict)
    """Detector name to its own action, instead of `action`."""
    directions: list[Direction] = msgspec.field(default_factory=lambda: ["in", "out"])
    tools: list[str] = msgspec.field(default_factory=lambda: ["*"])
    """Globs over exposed tool names."""
    endpoints: list[str] = msgspec.field(default_factory=lambda: ["*"])
    disabled: bool = False

    def problems(self) -> Iterator[Problem]:
        for i, name in enumerate(self.detectors):
            if name not in DETECTORS:
                yield Problem(f"spec.detectors[{i}]", f"{name!r} is none of {', '.join(DETECTORS)}")
        for name in self.actions:
            if name not in self.detectors:
                yield Problem(f"spec.actions.{name}", "must be one of spec.detectors")
        if not self.detectors:
            yield Problem("spec.detectors", "must name at least one detector")

    def references(self) -> Iterator[tuple[str, Ref]]:
        yield from ()


class Finding(msgspec.Struct, frozen=True, array_like=True):
    """A detector fired. Carries no matched text."""

    detector: str
    action: Action
    direction: Direction
    count: int


class PatternSet(Protocol):
    """Patterns compiled for one pass over the text."""

    def hits(self, data: bytes) -> list[int]:
        """Indexes of the patterns that match anywhere in `data` (UTF-8)."""
        ...

    def spans(self, pattern: int, text: str) -> list[tuple[int, int]]:
        """Non-overlapping (start, end) of one pattern in `text`, in characters."""
        ...


class Matcher(Protocol):
    """Compiles pattern sets in RE2 syntax (linear time, no look-around)."""

    def compile(self, patterns: Sequence[str]) -> PatternSet: ...
