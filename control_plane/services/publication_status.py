"""What a publication, or one that is held back, makes the statuses of a tenant's resources say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from control_plane.compiler.source import Dropped, Found
from control_plane.services.retries import Try
from core.endpoint import Endpoint, not_offered
from core.fleet import Published
from core.oauth.server import AuthorizationServer
from core.publication import Draft, Rows
from core.resource import Ref
from core.shadowing import Shadow


@dataclass(frozen=True, slots=True)
class Made:
    """A tenant as it was compiled, and what there is to tell of it."""

    draft: Draft
    found: tuple[Found, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    shadows: Mapping[str, Sequence[Shadow]] = field(default_factory=dict)
    retry: Try | None = None
    """When it is tried again without anybody changing anything."""
    data_key: bytes = b""
    """What the secrets of a fresh compilation are sealed with."""


def patches(
    made: Sequence[Made], rows: Mapping[str, Rows], fresh: Mapping[str, Published]
) -> dict[Ref, dict[str, object]]:
    """What the statuses must say and do not say yet."""
    found: dict[Ref, dict[str, object]] = {}
    for one in made:
        said = rows[one.draft.tenant]
        wanted = _wanted(one, said, fresh.get(one.draft.tenant))
        for resource in said.resources:
            members = wanted.get(resource.ref, {})
            patch = {k: v for k, v in members.items() if resource.status.get(k) != v}
            if patch:
                found[resource.ref] = patch
    return found


def _wanted(one: Made, rows: Rows, published: Published | None) -> dict[Ref, dict[str, object]]:
    """Resource to members of its status. None takes a member away."""
    wanted: dict[Ref, dict[str, object]] = {r.ref: {"problems": None} for r in rows.resources}
    by_ref: dict[Ref, list[Found]] = {}
    for found in one.found:
        by_ref.setdefault(found.ref, []).append(found)
    for ref, several in by_ref.items():
        wanted.setdefault(ref, {})["problems"] = [{"path": f.path, "rule": f.rule} for f in several]
    own = wanted.setdefault(Ref("Tenant", "", rows.tenant), {})
    own["problems"] = [{"resource": str(f.ref), "path": f.path, "rule": f.rule} for f in one.found] or None
    own["held_back"] = _held_back(one) or None
    own["retry"] = _retry(one.retry) if one.retry else None
    if published is not None:
        own["generation"] = published.generation if published.signed else None
        own["published_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    own_server = next((r.spec for r in rows.resources if isinstance(r.spec, AuthorizationServer)), None)
    for resource in rows.resources:
        if resource.kind == "Policy":  # Compiling takes a while: whoever waits for it must see that it is done.
            wanted[resource.ref]["checked_generation"] = resource.generation
        if isinstance(resource.spec, Endpoint):
            missing = not_offered(resource.spec, own_server) if own_server is not None else []
            wanted[resource.ref]["scopes_not_offered"] = missing or None
            told = [msgspec.to_builtins(shadow) for shadow in one.shadows.get(resource.name, ())]
            wanted[resource.ref]["shadowing"] = told or None
        if resource.kind == "Server":
            dropped = [{"tool": d.tool, "reason": d.reason} for d in one.dropped if d.server == resource.name]
            wanted[resource.ref]["dropped"] = dropped or None
    return wanted


def _held_back(one: Made) -> list[str]:
    """The tenant, or the endpoints and servers that alone stay at what was published before."""
    if one.draft.held:
        return [f"Tenant/{one.draft.tenant}"]
    return list(dict.fromkeys(str(found.ref) for found in one.found))


def _retry(retry: Try) -> dict[str, object]:
    return {"failed": retry.failed, "at": datetime.fromtimestamp(retry.at, UTC).isoformat(timespec="seconds")}
