"""A decision for people: which permission of which role, held through which binding, and which policy made it."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from core.identity import Role, RoleBinding
from core.policy import Decision
from core.policy_input import ASKED
from core.resource import Resource


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it might be made."""

    name: str
    user: str = ""
    agent: str = ""
    endpoint: str = "default"
    action: str = "tools/call"
    arguments: bytes | None = None
    """A JSON object; None: not known."""
    at_unix: float | None = None
    address: str = ""
    auth: str = "key"
    acr: str = ""
    amr: tuple[str, ...] = ()


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    decision: Decision
    roles: dict[str, list[str]]
    """Role to the bindings it is held through."""
    permissions: list["Considered"]
    denied_by: dict[str, list[str]]
    obliged_by: dict[str, list[str]]
    """Policy to its reasons and obligations."""
    input: dict[str, object]


class Considered(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    permission: int
    effect: str
    applied: bool
    failed: list[str]
    spec: dict[str, object]


def explained(
    found: Mapping[str, object],
    decision: Decision,
    situation: Situation,
    resources: Sequence[Resource],
    asked: dict[str, object],
) -> Explanation:
    raw = msgspec.convert(found, type=_Raw)
    roles = {r.name: r.spec for r in resources if isinstance(r.spec, Role)}
    held = msgspec.convert(asked["roles"], type=list[str])
    told = [(one, True) for one in raw.applied] + [(one, False) for one in raw.missed]
    seen = {(one.role, one.permission) for one, _ in told}
    permissions = [_considered(one, roles, asked, applied=applied) for one, applied in told]
    # The compiler files a permission under the tools it names: what is about others is never looked at.
    permissions += [
        Considered(
            role=name,
            permission=n,
            effect=permission.effect,
            applied=False,
            failed=["it does not name this"],
            spec=_json(permission),
        )
        for name in held
        if name in roles
        for n, permission in enumerate(roles[name].permissions)
        if (name, n) not in seen
    ]
    permissions.sort(key=lambda one: (not one.applied, one.role, one.permission))
    return Explanation(
        decision=decision,
        roles={name: list(_through(name, situation, asked, resources)) for name in held},
        permissions=permissions,
        denied_by=raw.denied_by,
        obliged_by=raw.obliged_by,
        input=asked,
    )


class _Origin(msgspec.Struct):
    role: str
    effect: str
    permission: int
    failed: list[dict[str, object]] = []


class _Raw(msgspec.Struct):
    """What `explain` in `toolgate.rego` gives."""

    applied: list[_Origin]
    missed: list[_Origin]
    denied_by: dict[str, list[str]] = {}
    obliged_by: dict[str, list[str]] = {}


def _considered(one: _Origin, roles: Mapping[str, Role], asked: Mapping[str, object], *, applied: bool) -> Considered:
    permissions = roles[one.role].permissions if one.role in roles else []
    return Considered(
        role=one.role,
        permission=one.permission,
        effect=one.effect,
        applied=applied,
        failed=[_said(check, asked) for check in one.failed],
        spec=_json(permissions[one.permission]) if one.permission < len(permissions) else {},
    )


def _json(value: object) -> dict[str, object]:
    return msgspec.convert(msgspec.to_builtins(value), type=dict[str, object])


def _said(check: Mapping[str, object], asked: Mapping[str, object]) -> str:
    """A check that failed, for people: "ctx.hour gte 18, and it is 9"."""
    path = msgspec.convert(check.get("path", []), type=list[str])
    subject = next((asked[one.one] for one in ASKED.values() if one.one in asked), {})
    places: list[object] = [asked, subject, asked.get("args", {})]
    for place in places:
        value: object = place
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            break
    op = str(check.get("than") or check.get("op"))
    is_ = "there is none" if value is None else f"it is {msgspec.json.encode(value).decode()}"
    return f"{'.'.join(path)} {op} {msgspec.json.encode(check.get('value')).decode()}, and {is_}"


def _through(
    role: str, situation: Situation, asked: Mapping[str, object], resources: Sequence[Resource]
) -> Iterator[str]:
    """Bindings that give the caller the role."""
    for resource in resources:
        if not isinstance(resource.spec, RoleBinding) or resource.spec.role != role:
            continue
        for subject in resource.spec.subjects:
            names = {"user": [situation.user], "agent": [situation.agent], "group": _groups(asked)}[subject.kind]
            if subject.name in names:
                yield f"{resource.ref}: {subject.kind} {subject.name}"


def _groups(asked: Mapping[str, object]) -> list[str]:
    found: list[str] = []
    for who in ("user", "agent"):
        principal = asked.get(who)
        if isinstance(principal, dict):
            found += principal["groups"]
    return found
