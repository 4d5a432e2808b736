"""A tenant to compile, whole by default and changed one thing at a time."""

from collections.abc import Mapping

import msgspec

from control_plane.compiler.source import Source, TenantPolicy
from core.definition import Definition, Known, Look, canonical_digest
from core.endpoint import Endpoint, Member
from core.guard import Guard
from core.identity import Agent, ApiKey, Permission, Role, RoleBinding, Subject, User
from core.limits import RateLimit
from core.offering import Offering
from core.resource import Resource, Spec
from core.secret import Secret
from core.server import HttpTransport, Server, StdioTransport, ToolOverlay
from core.snapshot import OpenSecrets, PolicyData
from core.tenant import Tenant

NOW = b"""{"name": "now", "description": "The time.",  "inputSchema": {"$schema":"https://json-schema.org/draft/2020-12/schema",
  "type":"object", "properties":{"zone":{"type":"string","x-mcp-header":"Zone"}}, "x-vendor": [1.0, 1e2, "\\u00fc"]},
  "annotations": {"readOnlyHint": true, "other": null}, "_meta": {"a/b": 1}}"""
LOG = b'{"inputSchema":{"type":"object"},"name":"log"}'
PUSH = b'{"name":"push","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}'


def a(kind_spec: Spec, name: str, **more: object) -> Resource:
    kind = type(kind_spec).__name__
    tenant = "" if kind == "Tenant" else "acme"
    return Resource(kind=kind, tenant=tenant, name=name, spec=kind_spec, generation=1, **more)


NOTHING = Offering()


def known(
    *definitions: bytes,
    era: str | None = "modern",
    version: str = "2026-07-28",
    offering: Offering = NOTHING,
    **look_changes: object,
) -> Known:
    rows = []
    for raw in definitions:
        digest = canonical_digest(raw)
        name = msgspec.json.decode(raw)["name"]
        rows.append(Definition(name=name, approved=raw, approved_digest=digest, observed=raw, observed_digest=digest))
    look = Look(era=era, protocol_version=version, looked_unix=1.0, seen_unix=1.0, **look_changes)
    return Known(look=look, definitions=tuple(sorted(rows, key=lambda row: row.name)), offering=offering)


CLOCK = Server(transport=HttpTransport(url="https://clock.example.com/mcp", secret_headers={"Authorization": "token"}))
GIT = Server(
    transport=StdioTransport(command=["mcp-server-git"]),
    risk="medium",
    tools={"push": ToolOverlay(risk="high", labels={"verb": "write"}, read_only=False, timeout_s=5.0)},
)

RESOURCES = (
    a(Tenant(max_staleness_s=600, revocation_epoch=2), "acme"),
    a(Agent(groups=["bots"]), "helper"),
    a(ApiKey(user="ada", agent="helper", endpoints=["default"]), "laptop"),
    a(
        Endpoint(members=[Member(server="clock"), Member(server="git", prefix="g", rename={"log": "history"})]),
        "default",
    ),
    a(Guard(detectors=["card", "email"], action="mask", actions={"card": "block"}), "pii"),
    a(RateLimit(calls=60), "fair"),
    a(Role(permissions=[Permission(max_risk="medium")]), "reader"),
    a(RoleBinding(role="reader", subjects=[Subject(kind="group", name="bots")]), "bots-read"),
    a(RoleBinding(role="admin", subjects=[Subject(kind="user", name="ada")]), "ada-admin"),
    a(Role(permissions=[Permission()]), "admin"),
    a(Secret(), "token"),
    a(CLOCK, "clock", labels={"team": "time"}),
    a(GIT, "git"),
    a(User(groups=["staff", "eng"], attributes={"level": 3}), "ada"),
)


def source(
    *resources: Resource,
    without: tuple[str, ...] = (),
    known_servers: Mapping[str, Known] | None = None,
    key_hashes: dict[str, bytes] | None = None,
) -> Source:
    """The tenant above, with `resources` in place of those of the same kind and name, and some left out."""
    rows = {r.ref: r for r in RESOURCES if str(r.ref) not in without}
    rows.update({r.ref: r for r in resources})
    tenant = next(r.spec for r in rows.values() if isinstance(r.spec, Tenant))
    return Source(
        tenant="acme",
        spec=tenant,
        resources=tuple(rows[ref] for ref in sorted(rows)),
        known=dict(known_servers) if known_servers is not None else {"clock": known(NOW), "git": known(LOG, PUSH)},
        key_hashes=key_hashes if key_hashes is not None else {"laptop": bytes(32)},
        secrets=OpenSecrets(values={"token": "Bearer t"}, key_pepper=b"p" * 32, session_key=b"s" * 32),
        policy=TenantPolicy(module=b"\0asm", data=PolicyData(data=b'{"roles":{}}')),
    )


def seal(plain: bytes) -> bytes:
    """Constant, so that the same input gives the same bytes; what sealing does is tested elsewhere."""
    return b"sealed:" + plain
