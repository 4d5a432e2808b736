"""What servers were seen to offer and what of it is in force, and the port to where that is kept."""

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Literal, Protocol

import msgspec

from core.audit import Entry
from core.offering import UNNAMED, Offering, offered
from core.resource import digest
from core.server import ApprovedTool, Observation, ObservedTool

State = Literal["approved", "pending", "quarantined", "gone"]
TOOLS_PER_SERVER = 2000
DEFINITION_BYTES = 256 * 1024
INSTRUCTIONS_CHARS = 16 * 1024
UNUSABLE_TOLD = 50

_canonical = msgspec.json.Encoder(order="sorted")


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """One tool of one server: the definition in force, if any, and the one last seen, if it is still there."""

    name: str
    approved: bytes = b""
    """JSON object; empty: never approved."""
    approved_digest: bytes = b""
    observed: bytes = b""
    """JSON object; empty: not offered at the last look."""
    observed_digest: bytes = b""
    observed_unix: float = 0.0

    @property
    def state(self) -> State:
        if not self.observed_digest:
            return "gone"
        if not self.approved_digest:
            return "pending"
        return "approved" if self.approved_digest == self.observed_digest else "quarantined"

    @property
    def waits(self) -> bool:
        """For somebody to approve what was last seen."""
        return self.state in ("pending", "quarantined")

    @property
    def listed(self) -> bool:
        """Agents see the approved definition while the tool is offered, changed or not; what is gone is hidden."""
        return bool(self.approved_digest and self.observed_digest)

    def approve(self) -> "Definition":
        return msgspec.structs.replace(self, approved=self.observed, approved_digest=self.observed_digest)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The last look at a server."""

    era: Literal["modern", "legacy"] | None = None
    """Of the last look that succeeded; None: none did."""
    protocol_version: str = ""
    server_info: dict[str, str] = msgspec.field(default_factory=dict)
    instructions: str = ""
    error: str = ""
    """Why the very last look failed; empty when it did not."""
    looked_unix: float = 0.0
    seen_unix: float = 0.0
    """When a look last succeeded; 0: never."""
    away: bool = False
    """The last time anybody looked, the server could not be seen."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a server."""

    look: Look = Look()
    definitions: tuple[Definition, ...] = ()
    """Sorted by name."""
    offering: Offering = Offering()

    @property
    def unavailable(self) -> bool:
        """Not to be seen at the last look, or never yet: what is listed of it may not be what it offers."""
        return self.look.away or not self.look.seen_unix

    def approved(self) -> list[ApprovedTool]:
        """What agents see, in name order."""
        return [
            ApprovedTool(name=d.name, definition=d.approved, digest=d.approved_digest)
            for d in self.definitions
            if d.listed
        ]


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """What a look changed: the new knowledge, the definitions that differ, and what was approved by rule."""

    known: Known
    changed: tuple[Definition, ...]
    auto_approved: tuple[str, ...]
    visible: bool = False
    """Whether agents or gateways will see a difference."""
    unusable: tuple[str, ...] = ()
    """What was left out, with the reason."""


def plain(text: str, longest: int = 1000) -> str:
    """Text from outside as it may be stored and shown: no NUL, which PostgreSQL refuses, and of bounded length."""
    return text[:longest].replace("\0", "\ufffd")


def canonical_digest(definition: bytes) -> bytes:
    """Digest of a definition's canonical JSON (keys sorted): spacing and member order do not make a new definition."""
    return digest(_canonical.encode(msgspec.json.decode(definition)))


def learn(
    known: Known,
    seen: Observation,
    now_unix: float,
    *,
    approve_first: bool,
    approve_changes: bool,
    suspicious: Container[bytes] = frozenset(),
) -> Learnt:
    """Fold a look into what is known. A look that failed changes nothing but the error.

    `suspicious`: digests of definitions that are not approved by rule, whatever the rule is.
    """
    if seen.failed:
        return _failed(known, seen, now_unix)
    usable, unusable = _usable(seen.tools)
    approve = approve_changes or (approve_first and known.look.seen_unix == 0)
    before = {d.name: d for d in known.definitions}
    after = {name: _fold(before.get(name), name, usable.get(name), now_unix) for name in sorted({*before, *usable})}
    waiting = [d for d in after.values() if d.waits and d.observed_digest not in suspicious] if approve else []
    after.update({d.name: d.approve() for d in waiting})
    after = {name: d for name, d in after.items() if d.observed_digest or d.approved_digest}
    gone = [Definition(name=name) for name in before if name not in after]
    changed = [d for d in after.values() if not _same(before.get(d.name), d)] + gone
    offering, refused = offered(known.offering, seen)
    fresh = Known(look=_success(seen, now_unix), definitions=tuple(after.values()), offering=offering)
    return Learnt(
        known=fresh,
        changed=tuple(changed),
        auto_approved=tuple(d.name for d in waiting),
        visible=_shown(known) != _shown(fresh),
        unusable=tuple([*unusable, *refused][:UNUSABLE_TOLD]),
    )


def _failed(known: Known, seen: Observation, now_unix: float) -> Learnt:
    look = msgspec.structs.replace(
        known.look,
        error=plain(seen.error) or "no answer",
        looked_unix=now_unix,
        away=known.look.away or seen.looked,
    )
    after = msgspec.structs.replace(known, look=look)
    return Learnt(known=after, changed=(), auto_approved=(), visible=after.unavailable != known.unavailable)


def _shown(known: Known) -> tuple[object, ...]:
    """What of it goes into a snapshot."""
    listed = tuple((d.name, d.approved_digest) for d in known.definitions if d.listed)
    look = known.look
    return look.era, look.protocol_version, look.instructions, known.unavailable, known.offering, listed


def _fold(old: Definition | None, name: str, seen: tuple[bytes, bytes] | None, now_unix: float) -> Definition:
    base = old or Definition(name=name)
    if seen is None:
        return msgspec.structs.replace(base, observed=b"", observed_digest=b"")
    definition, digested = seen
    if base.observed_digest == digested:
        return base
    return msgspec.structs.replace(base, observed=definition, observed_digest=digested, observed_unix=now_unix)


def _same(old: Definition | None, new: Definition) -> bool:
    return old is not None and (old.approved_digest, old.observed_digest) == (new.approved_digest, new.observed_digest)


def _success(seen: Observation, now_unix: float) -> Look:
    return Look(
        era=seen.era,
        protocol_version=plain(seen.protocol_version, 64),
        server_info={plain(k, 64): plain(v, 256) for k, v in list(seen.server_info.items())[:16]},
        instructions=plain(seen.instructions, INSTRUCTIONS_CHARS),
        looked_unix=now_unix,
        seen_unix=now_unix,
    )


def _usable(tools: Iterable[ObservedTool]) -> tuple[dict[str, tuple[bytes, bytes]], list[str]]:
    """Name to (definition, digest) of what can be a tool at all, and what cannot with the reason."""
    usable: dict[str, tuple[bytes, bytes]] = {}
    unusable: list[str] = []
    for tool in tools:
        reason = _unusable_because(tool, usable)
        if reason:
            unusable.append(f"{plain(tool.name, 128) or UNNAMED}: {reason}")
        else:
            usable[tool.name] = (tool.definition, canonical_digest(tool.definition))
    return usable, unusable


def _unusable_because(tool: ObservedTool, usable: dict[str, tuple[bytes, bytes]]) -> str:
    if len(usable) >= TOOLS_PER_SERVER:
        return f"a server may offer at most {TOOLS_PER_SERVER} tools"
    if not 0 < len(tool.name) <= 256 or "\0" in tool.name:
        return "the name must be 1-256 characters, none of them U+0000"
    if tool.name in usable:
        return "offered twice"
    if len(tool.definition) > DEFINITION_BYTES:
        return f"the definition is over {DEFINITION_BYTES} bytes"
    try:
        fields = msgspec.json.decode(tool.definition, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "the definition is no JSON object"
    if fields.get("name") != tool.name or not isinstance(fields.get("inputSchema"), dict):
        return "the definition must hold name and inputSchema, an object"
    return ""


class Due(msgspec.Struct, frozen=True):
    """A server whose time has come, claimed for this replica."""

    tenant: str
    server: str
    failures: int = 0
    """Looks in a row that failed."""
    reach: bytes = b""
    """Digest of how the server was to be reached: what is seen there counts while that holds."""


Fold = Callable[[Known], tuple[Learnt, list[Entry]]]
"""From what is known to what is known now, and what the audit log says of it."""
Choose = Callable[[Known], tuple[list[Definition], list[Entry]]]
"""From what is known to the definitions put in force, and what the audit log says of it. May raise Rejected."""


class Definitions(Protocol):
    """Where looks and definitions are kept. Every method raises Rejected(UNAVAILABLE) when that is away."""

    async def known(self, tenant: str, server: str) -> Known: ...

    async def schedule(self, servers: dict[str, dict[str, bytes]]) -> None:
        """Tenant to the servers to look at, each with the digest of how it is reached: a new digest is due at once.

        What is known of servers left out is kept, until they are deleted.
        """
        ...

    async def claim(self, tenants: Sequence[str], limit: int, lease_s: float) -> list[Due]:
        """Servers of these tenants whose look is due, ours until the lease ends."""
        ...

    async def learn(self, due: Due, fold: Fold, *, next_look_s: float) -> Learnt | None:
        """Fold a look into what is known, audit it and, if it is visible, give the tenant a new revision. Atomic.

        None, and nothing is kept, when the server is gone or is reached in another way by now.
        """
        ...

    async def approve(self, tenant: str, server: str, choose: Choose) -> list[Definition]:
        """Put definitions in force, with their audit rows and a new revision of the tenant. Atomic."""
        ...

    async def hasten(self, tenant: str, server: str) -> bool:
        """Make a look due now and tell every replica. False: no such server is scheduled."""
        ...
