"""May this caller use this tool: policies as declared, decisions as made, and the ports to what decides."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from core.resource import Problem, Ref

HOST_BUILTINS = (
    "semver.compare",
    "semver.is_valid",
    "sprintf",
    "strings.any_prefix_match",
    "strings.any_suffix_match",
    "time.clock",
    "time.date",
    "time.parse_rfc3339_ns",
    "time.weekday",
    "units.parse_bytes",
)
"""Rego builtins OPA's WASM lacks and every PolicyEngine brings; a PolicyCompiler refuses any other it lacks."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A tenant's own Rego beside the shipped policy. It can only take away: its `deny` reasons refuse a call.

    The module's package must be `toolgate.tenant.<name>` with '-' written '_', and `deny` a set of reason strings.
    """

    rego: str
    tests: str = ""
    """A Rego test module; every `test_` rule in it must hold before the policy is published."""
    disabled: bool = False

    def problems(self) -> Iterator[Problem]:
        if not self.rego.strip():
            yield Problem("spec.rego", "must not be empty")
        if len(self.rego) > 256 * 1024:
            yield Problem("spec.rego", "must be at most 256 KiB")

    def references(self) -> Iterator[tuple[str, Ref]]:
        yield from ()


class Canary(msgspec.Struct, frozen=True):
    """A decision every gateway must reproduce before it activates a policy."""

    input: bytes
    """JSON of the policy input."""
    allow: bool


class Decision(msgspec.Struct, frozen=True):
    """What the policy said. Anything but a well-formed result is `allow=False` with a `policy_*` reason."""

    allow: bool
    reasons: tuple[str, ...] = ()
    """Sorted reason codes, for the record: why allowed (roles) or why not."""


ERROR = Decision(allow=False, reasons=("policy_error",))
"""The policy was cut off, trapped, or could not be asked."""

UNDEFINED = Decision(allow=False, reasons=("policy_undefined",))
"""The policy has no opinion, or one that is not `{"allow": bool, "reasons": [string...]}`."""


def normalise(result: object) -> Decision:
    """A decision out of what an engine answered (JSON, decoded). Only an object whose `allow` is true allows."""
    if not isinstance(result, dict):
        return UNDEFINED
    allow, reasons = result.get("allow"), result.get("reasons", ())
    if not isinstance(allow, bool) or not isinstance(reasons, list | tuple):
        return UNDEFINED
    if not all(isinstance(reason, str) for reason in reasons):
        return UNDEFINED
    return Decision(allow, tuple(sorted(reasons)))


def package_path(policy: str) -> tuple[str, ...]:
    """The Rego package a Policy's module must have, as its path: `toolgate.tenant.<name>`, '-' written '_'."""
    return ("toolgate", "tenant", policy.replace("-", "_"))


class PreparedPolicy(Protocol):
    """A policy ready to decide; immutable, one per tenant snapshot, used from one event loop."""

    def decide(self, input_json: bytes) -> Decision:
        """One decision. Never raises: a trap, a deadline or a malformed result is a deny with its reason."""
        ...

    def visible(self, input_json: bytes) -> frozenset[str] | None:
        """The names of the tools in `input.tools` the caller may use; None on any failure: then it may use none."""
        ...

    def close(self) -> None: ...


class PolicyEngine(Protocol):
    """Turns a compiled policy into one that decides."""

    def prepare(self, module: bytes, data: bytes, canaries: tuple[Canary, ...]) -> PreparedPolicy:
        """Load `module` with `data` (JSON) and run the canaries. Slow: call it off the event loop.

        Raises ValueError naming what is wrong (module unreadable, data refused, canary mismatch).
        """
        ...


class PolicyCompiler(Protocol):
    """Checks, tests and compiles Rego. Lives in the control plane."""

    async def compile(self, modules: dict[str, str], tests: dict[str, str]) -> bytes:
        """The WASM of the shipped policy together with `modules`: a Policy's name to its Rego, `tests` likewise.

        All of one tenant. Raises RegoRejected with every problem found, PolicyCompilerMissing where there is no `opa`.
        """
        ...


class RegoRejected(Exception):
    """The Rego does not check, uses what is not allowed, or fails its tests.

    `by_policy` has the same problems by the Policy they are in; "" holds those of none in particular. Where several
    policies were compiled, a rule in `problems` starts with the name of its own.
    """

    def __init__(self, problems: list[Problem], by_policy: dict[str, list[Problem]] | None = None) -> None:
        super().__init__("; ".join(f"{p.path}: {p.rule}" for p in problems))
        self.problems = problems
        self.by_policy = by_policy if by_policy is not None else {"": problems}


class PolicyCompilerMissing(Exception):
    """There is no `opa` to compile with. The message says how to install one."""
