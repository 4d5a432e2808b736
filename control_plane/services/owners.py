"""What only owners say of a kind that others may apply too."""

from collections.abc import Iterator

from core import onbehalf
from core.admin import Admin
from core.audit_sink import AuditSink
from core.guard import Guard
from core.identity import Agent, Role, RoleBinding, User
from core.issuer import IdentityProvider
from core.resource import Problem, Ref, Resource, Spec
from core.secret_store import SecretStore
from core.server import Server
from core.store import Writing
from core.webhook import Webhook


def place(spec: Spec) -> object:
    """Where it leads to, whatever else of it changes. None is like nothing, so what is missing here is refused."""
    if isinstance(spec, Server):
        return spec.transport, onbehalf.places(spec.auth)
    if isinstance(spec, AuditSink):
        return spec.to
    if isinstance(spec, IdentityProvider):
        return spec.source
    if isinstance(spec, Guard):
        return tuple(spec.asks())
    return (spec.url, spec.ca_pem, spec.allow_private) if isinstance(spec, Webhook | SecretStore) else None


def secrets_of(spec: Spec) -> list[tuple[str, Ref]]:
    """Secrets whose values are sent to where it leads, with the paths that name them."""
    return [(path, ref) for path, ref in spec.references() if ref.kind == "Secret"]


def of_owners(admin: Admin, spec: Spec | None, current: Resource | None) -> Iterator[Problem]:
    """Who can be whom: an agent's keys and redirect URIs are credentials, an e-mail address is what a provider's word
    may be about, and whoever says where callers' tokens are exchanged, which server gets what they are exchanged for,
    where the value of a Secret is sent, or which tool gets values for tokens, could have them come to himself.
    """
    if admin.role == "owner":
        return
    before, whose = current.spec if current is not None else None, f"{admin.name} has the role {admin.role}"
    if isinstance(spec, Agent) and spec.oauth != (before.oauth if isinstance(before, Agent) else None):
        yield Problem("spec.oauth", f"is for owners to declare; {whose}")
    if isinstance(spec, User) and spec.email != (before.email if isinstance(before, User) else ""):
        yield Problem("spec.email", f"is for owners to declare; {whose}")
    if isinstance(spec, Server) and onbehalf.exchanged(spec.auth) is not None:
        told = (before.transport, before.auth) if isinstance(before, Server) else None
        if told != (spec.transport, spec.auth):
            yield Problem("spec.auth", f"is for owners to declare where callers' tokens are exchanged; {whose}")
    elif isinstance(spec, Server | Guard) and (names := secrets_of(spec)):
        known = (place(before), secrets_of(before)) if isinstance(before, Server | Guard) else None
        if known != (place(spec), names):
            yield Problem(names[0][0], f"is for owners to declare, and where its value is sent; {whose}")
    if isinstance(spec, Guard) and spec.reveal and not spec.disabled:
        shown = (before.reveal, before.tools, before.endpoints, before.disabled) if isinstance(before, Guard) else None
        if shown != (spec.reveal, spec.tools, spec.endpoints, spec.disabled):
            yield Problem("spec.reveal", f"is for owners to declare, and which tools it is for; {whose}")


async def of_roles(
    admin: Admin, writing: Writing, tenant: str, spec: Spec | None, current: Resource | None
) -> list[Problem]:
    """Whoever could say what a role may do here, or who has it, could do anything."""
    if admin.role == "owner":
        return []
    before = current.spec if current is not None else None
    rule = f"is for owners to declare; {admin.name} has the role {admin.role}"
    if isinstance(spec, Role):
        same = spec.admin == (before.admin if isinstance(before, Role) else [])
        return [] if same else [Problem("spec.admin", rule)]
    if not isinstance(spec, RoleBinding) or spec == before:
        return []
    for binding in (spec, before):
        if not isinstance(binding, RoleBinding):
            continue
        role = await writing.get(Ref("Role", tenant, binding.role))
        if role is not None and isinstance(role.spec, Role) and role.spec.admin:
            return [Problem("spec.role", f"{role.ref} has permissions of the admin API, and {rule}")]
    return []
