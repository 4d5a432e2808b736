"""Who calls: users, agents, their keys and their roles; and the Caller a verified request carries."""

from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Literal

import msgspec

from core.resource import NAME, NAME_RULE, Problem, Ref

Attribute = str | int | bool | list[str]

KEY_PREFIX = "tgk"
"""A key reads `tgk_<tenant>_<key id>_<secret>`; tenant names hold no underscore. Platform keys have tenant `-`."""


class User(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A person, on whose behalf agents act."""

    display_name: str = ""
    email: str = ""
    groups: list[str] = msgspec.field(default_factory=list)
    attributes: dict[str, Attribute] = msgspec.field(default_factory=dict)
    disabled: bool = False

    def problems(self) -> Iterator[Problem]:
        if self.email and "@" not in self.email:
            yield Problem("spec.email", "must be an e-mail address")
        yield from _nameless(self.groups, self.attributes)

    def references(self) -> Iterator[tuple[str, Ref]]:
        yield from ()


class Agent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A workload identity: the program that calls."""

    display_name: str = ""
    groups: list[str] = msgspec.field(default_factory=list)
    attributes: dict[str, Attribute] = msgspec.field(default_factory=dict)
    disabled: bool = False

    def problems(self) -> Iterator[Problem]:
        yield from _nameless(self.groups, self.attributes)

    def references(self) -> Iterator[tuple[str, Ref]]:
        yield from ()


def _nameless(groups: list[str], attributes: dict[str, Attribute]) -> Iterator[Problem]:
    for i, group in enumerate(groups):
        if not group.strip():
            yield Problem(f"spec.groups[{i}]", "must not be empty")
    for key in attributes:
        if not key.strip():
            yield Problem(f'spec.attributes["{key}"]', "a name must not be empty")


AdminRole = Literal["viewer", "editor", "owner"]
"""viewer reads; editor also applies and deletes; owner also issues keys, reads audit and handles secrets."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A credential: for MCP calls (user, agent or both named), or for the admin API (`admin_role`)."""

    user: str = ""
    agent: str = ""
    endpoints: list[str] = msgspec.field(default_factory=list)
    """Endpoints it opens; empty: all of the tenant's."""
    expires_at: datetime | None = None
    revoked: bool = False
    admin_role: AdminRole | None = None

    def problems(self) -> Iterator[Problem]:
        if self.admin_role is None and not (self.user or self.agent):
            yield Problem("spec", "must name a user, an agent or both, or an admin_role")
        if self.admin_role is not None and (self.user or self.agent or self.endpoints):
            yield Problem("spec.admin_role", "an admin key names no user, agent or endpoints")
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            yield Problem("spec.expires_at", "must carry a time zone, such as 2027-01-01T00:00:00Z")

    def references(self) -> Iterator[tuple[str, Ref]]:
        if self.user:
            yield "spec.user", Ref("User", "", self.user)
        if self.agent:
            yield "spec.agent", Ref("Agent", "", self.agent)
        for i, name in enumerate(self.endpoints):
            yield f"spec.endpoints[{i}]", Ref("Endpoint", "", name)


Risk = Literal["low", "medium", "high", "critical"]
RISKS: tuple[Risk, ...] = ("low", "medium", "high", "critical")


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One comparison on an attribute of the request. An absent attribute satisfies no condition."""

    attribute: str
    """`user.<attribute>`, `agent.<attribute>`, `tool.risk|server|name|label.<key>`, `ctx.hour|weekday|ip`.

    Hours are 0-23 and weekdays `Monday`..`Sunday`, both UTC. `tool.` is the tool, prompt or resource asked for.
    """
    op: Literal["eq", "ne", "in", "not_in", "lt", "lte", "gt", "gte", "contains", "cidr"]
    value: str | int | bool | list[str | int]


class Permission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a role allows or denies: all of the fields must match."""

    effect: Literal["allow", "deny"] = "allow"
    """A deny of any role wins over every allow."""
    tools: list[str] = msgspec.field(default_factory=lambda: ["*"])
    """Globs over the tool's name at its server."""
    prompts: list[str] = msgspec.field(default_factory=list)
    """Globs over the prompt's name at its server; none: no prompt."""
    resources: list[str] = msgspec.field(default_factory=list)
    """Globs over the resource's URI at its server, for templates over the template as it is written; none: none."""
    servers: list[str] = msgspec.field(default_factory=lambda: ["*"])
    endpoints: list[str] = msgspec.field(default_factory=lambda: ["*"])
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Labels the tool, prompt or resource must carry: a prompt has those of its server, and so has a resource."""
    max_risk: Risk | None = None
    read_only: bool = False
    """Match only tools known to change nothing. Prompts and resources are taken to change nothing."""
    when: list[Condition] = msgspec.field(default_factory=list)


class Role(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named set of permissions."""

    permissions: list[Permission]

    def problems(self) -> Iterator[Problem]:
        for i, permission in enumerate(self.permissions):
            for j, condition in enumerate(permission.when):
                root = condition.attribute.partition(".")[0]
                if root not in ("user", "agent", "tool", "ctx"):
                    path = f"spec.permissions[{i}].when[{j}].attribute"
                    yield Problem(path, "must start with user., agent., tool. or ctx.")
                if condition.op in ("in", "not_in") and not isinstance(condition.value, list):
                    yield Problem(f"spec.permissions[{i}].when[{j}].value", f"must be a list for {condition.op}")

    def references(self) -> Iterator[tuple[str, Ref]]:
        yield from ()


class Subject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whom a binding is for."""

    kind: Literal["user", "agent", "group"]
    name: str


class RoleBinding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Gives a role to users, agents and groups. A caller has the roles of its user, its agent and their groups."""

    role: str
    subjects: list[Subject]

    def problems(self) -> Iterator[Problem]:
        for i, subject in enumerate(self.subjects):
            if subject.kind != "group" and not NAME.fullmatch(subject.name):
                yield Problem(f"spec.subjects[{i}].name", NAME_RULE)
            elif not subject.name.strip():
                yield Problem(f"spec.subjects[{i}].name", "must not be empty")

    def references(self) -> Iterator[tuple[str, Ref]]:
        yield "spec.role", Ref("Role", "", self.role)
        for i, subject in enumerate(self.subjects):
            if subject.kind != "group":
                yield f"spec.subjects[{i}].name", Ref(subject.kind.capitalize(), "", subject.name)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A verified caller: which tenant, user and agent, and how that was proven. Made by `stages.authn` only."""

    tenant: str
    user: str
    agent: str
    credential: str
    """How it was proven: `key:<name>`."""
    endpoints: frozenset[str]
    """Endpoints the credential opens; empty: all."""
    expires_unix: float
    """When the proof ends; infinity if never."""
    policy_class: bytes
    """Digest of all that a decision may depend on besides the tool and the context: callers that share it see alike."""

    @property
    def subject(self) -> str:
        return f"{self.user}/{self.agent}"


def key_hash(pepper: bytes, key: bytes) -> bytes:
    """Keyed BLAKE2b-256 of a whole key; what is stored and what a gateway looks up. `pepper` is 32 secret bytes."""
    return blake2b(key, key=pepper, digest_size=32).digest()


def key_tenant(key: bytes) -> str | None:
    """The tenant a key claims to be of; None if it does not read as a key. Claims nothing is proven by this."""
    parts = key.split(b"_")
    if len(parts) != 4 or parts[0] != KEY_PREFIX.encode() or not parts[1].isascii():
        return None
    return parts[1].decode()
