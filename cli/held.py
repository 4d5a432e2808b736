"""What was applied and cannot be published: told at once, instead of being found in a status later."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from msgspec import ValidationError, convert

from cli import output
from cli.admin import AdminApi, Refusal, json_of
from core.endpoint import Endpoint, not_offered
from core.oauth.server import NAME, AuthorizationServer
from core.resource import Ref
from toolgate.v1 import resources_pb2 as pb

COMPILE_S = 10.0
"""How long the compilation of a policy is waited for."""
PUBLISH_S = 0.5
"""How long a publication is: not every change makes one, so nothing is wrong when none comes."""
READ_S = 8.0
"""How long the first reading of a Secret's source is: one that does not answer is waited for no longer."""
RECOVER_S = 2.0
"""How long faults that may just have been put right are given to go away."""
POLL_S = 0.05
_TOLD = ("held_back", "problems", "retry")


def tell(api: AdminApi, there: Sequence[Ref], changed: Sequence[Ref]) -> list[output.Json]:
    """On stderr, each fault that keeps the tenants of what is `there` at what was published before.

    What was `changed` is waited for. Gives the same for programs: of each such tenant its `problems`, and who is
    `held_back`.
    """
    by_tenant: dict[str, list[Ref]] = {}
    for ref in there:
        by_tenant.setdefault(ref.name if ref.kind == "Tenant" else ref.tenant, []).append(ref)
    by_tenant.pop("", None)  # keys of the platform: no tenant's
    told: list[output.Json] = []
    for tenant, refs in by_tenant.items():
        try:
            told += _tell(api, tenant, [ref for ref in refs if ref in changed])
            if any(ref.kind in ("Endpoint", "AuthorizationServer") for ref in refs if ref in changed):
                _tell_scopes(api, tenant, [ref for ref in refs if ref.kind == "Endpoint"])
        except (Refusal, ValidationError):
            # Deleted meanwhile, not ours to see, or of a newer server: what was done is done all the same.
            continue
    return told


def _tell(api: AdminApi, tenant: str, changed: Sequence[Ref]) -> Iterator[output.Json]:
    policies = [ref for ref in changed if ref.kind == "Policy"]
    for ref in policies:
        _await(api, ref, _is_checked, COMPILE_S)
    read = [ref for ref in changed if ref.kind == "Secret"]
    for ref in read:
        _await(api, ref, _is_read, READ_S)
    since = _time(_get(api, changed[-1]).get("updated_at")) if changed else 0.0

    def published(found: output.Json) -> bool:
        return _time(_status(found).get("published_at")) >= since

    own = Ref("Tenant", "", tenant)
    found = _await(api, own, published, PUBLISH_S)
    if any(_faults(found)) and changed and not policies:
        found = _await(api, own, published, RECOVER_S)
    if any(_faults(found)) and read:
        found = _await(api, own, lambda one: published(one) and not any(_faults(one)), RECOVER_S)
    if any(_faults(found)):
        output.progress(
            f"not in force: {_held_back(tenant, found)} at what was published before, until this is put right"
        )
        status = _status(found)
        yield {"tenant": tenant, **{name: status[name] for name in _TOLD if status.get(name)}}
    for line in (*_faults(found), *_retry(found)):
        output.progress(f"  {line}")


def _tell_scopes(api: AdminApi, tenant: str, endpoints: Sequence[Ref]) -> None:
    """What is in force, and opens to fewer than was meant. Raises Refusal where the tenant has no issuer."""
    server = convert(_get(api, Ref("AuthorizationServer", tenant, NAME)).get("spec"), AuthorizationServer)
    for ref in endpoints:
        missing = not_offered(convert(_get(api, ref).get("spec"), Endpoint), server)
        if missing:
            output.progress(
                f"{ref} demands scopes no token of the tenant's AuthorizationServer has: {', '.join(missing)}"
                " (its spec.scopes does not offer them)"
            )


def _await(api: AdminApi, ref: Ref, done: Callable[[output.Json], bool], most_s: float) -> output.Json:
    """The resource as it is when `done`, or when the time is over."""
    deadline = time.monotonic() + most_s
    while True:
        found = _get(api, ref)
        if done(found) or time.monotonic() > deadline:
            return found
        time.sleep(POLL_S)


def _get(api: AdminApi, ref: Ref) -> output.Json:
    return json_of(api.call(api.resources.Get, pb.GetRequest(kind=ref.kind, tenant=ref.tenant, name=ref.name)))


def _status(found: output.Json) -> output.Json:
    status = found.get("status")
    return status if isinstance(status, dict) else {}


def _is_checked(policy: output.Json) -> bool:
    return str(_status(policy).get("checked_generation")) == str(policy.get("generation"))


def _is_read(secret: output.Json) -> bool:
    """Whether its source, if it has one, was tried as it is declared now."""
    spec, source = secret.get("spec"), _status(secret).get("source")
    if not isinstance(spec, dict) or not spec.get("source"):
        return True
    return isinstance(source, dict) and str(source.get("generation")) == str(secret.get("generation"))


def _faults(tenant: output.Json) -> Iterator[str]:
    problems = _status(tenant).get("problems")
    for problem in problems if isinstance(problems, list) else ():
        yield f"{problem['resource']}: {problem['path']}: {problem['rule']}"


def _held_back(tenant: str, found: output.Json) -> str:
    """Who stays: the tenant, or endpoints and servers of it alone."""
    named = _status(found).get("held_back")
    alone = [str(one) for one in named if not str(one).startswith("Tenant/")] if isinstance(named, list) else []
    if not alone:
        return f"{tenant} stays"
    return f"of {tenant}, {', '.join(alone)} {'stays' if len(alone) == 1 else 'stay'}"


def _retry(found: output.Json) -> Iterator[str]:
    """Where nothing that was declared is at fault, it is tried again."""
    retry = _status(found).get("retry")
    if isinstance(retry, dict):
        yield f"attempts that failed: {retry.get('failed')}; the next comes by itself, at {retry.get('at')}"


def _time(stamp: object) -> float:
    """Seconds; 0 for none. Publications are stamped in whole milliseconds."""
    return int(1000 * datetime.fromisoformat(str(stamp)).timestamp()) / 1000 if stamp else 0.0
