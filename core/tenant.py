"""The organisation a resource belongs to, and the groupings inside it."""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from core.resource import Problem, Ref

RESERVED: Final = frozenset({"servers"})
"""Names no tenant may have: `/servers/{server}/...` is a server of the credential's own tenant."""

LEAST_STALENESS_S: Final = 15
"""Three heartbeats of the control plane, when a stream counts as dead: with less, gateways in touch refuse calls."""


class Tenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An organisation. Everything else belongs to exactly one."""

    display_name: str = ""
    max_staleness_s: int | None = None
    """Refuse calls on a gateway that has not heard from the control plane for so long; None: serve the last one."""
    audit: Literal["best_effort", "required"] = "best_effort"
    """`required`: a call whose record cannot be written is refused before it is executed."""
    audit_arguments: Literal["digest", "keep"] = "digest"
    """`keep`: audit rows hold permitted calls' arguments as the guards left them; `digest`: what tells them apart."""
    revocation_epoch: int = 0
    """Raising it ends every decision cached and every legacy session begun before."""
    retention_days: int = 90
    policy_engine: Literal["wasm", "sidecar"] = "wasm"
    """What decides on gateways: the policy compiled to WASM, in process, or a stock OPA beside each gateway."""
    decisions: Literal["off", "redacted", "arguments"] = "redacted"
    """What is kept of what policies were asked, to replay candidates on: nothing, all but arguments, or those too that
    a policy declares.
    """
    decisions_days: int = 14
    """For how long."""
    disabled: bool = False

    def problems(self) -> Iterator[Problem]:
        if self.max_staleness_s is not None and self.max_staleness_s < LEAST_STALENESS_S:
            yield Problem("spec.max_staleness_s", f"must be at least {LEAST_STALENESS_S}")
        if not 1 <= self.retention_days <= 3650:
            yield Problem("spec.retention_days", "must be 1-3650")
        if not 1 <= self.decisions_days <= 365:
            yield Problem("spec.decisions_days", "must be 1-365")
        if self.revocation_epoch < 0:
            yield Problem("spec.revocation_epoch", "must not be negative")

    def references(self) -> Iterator[tuple[str, Ref]]:
        yield from ()


class Namespace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A grouping of a tenant's resources, such as a team or an environment."""

    description: str = ""

    def problems(self) -> Iterator[Problem]:
        yield from ()

    def references(self) -> Iterator[tuple[str, Ref]]:
        yield from ()
