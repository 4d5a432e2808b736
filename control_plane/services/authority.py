"""Who may do what to which resource. Whoever may not see a thing hears what is heard of a thing that is not there."""

from core.admin import Admin, Rejected, Why
from core.identity import AdminRole
from core.kinds import PLATFORM_SCOPE
from core.resource import Ref

_RANK: dict[AdminRole, int] = {"viewer": 0, "editor": 1, "owner": 2}
OWNERS_ONLY = frozenset(
    {"ApiKey", "Secret", "AuthorizationServer", "IdentityProvider", "CertificateAuthority", "AuditSink"}
)
"""Whoever could change a key could raise its role, a secret is its owner's, and who is let in by whom is decided by
authorization servers, issuers and authorities: editors only see that they exist."""


def sees(admin: Admin, ref: Ref) -> bool:
    if admin.tenant is None:
        return True
    if ref.kind in PLATFORM_SCOPE:
        return ref.kind == "Tenant" and ref.name == admin.tenant
    return ref.tenant == admin.tenant


def absent(ref: Ref) -> Rejected:
    return Rejected(Why.NOT_FOUND, f"{ref} does not exist")


def no_tenant(tenant: str) -> Rejected:
    return absent(Ref("Tenant", "", tenant))


def see_tenant(admin: Admin, tenant: str) -> None:
    """Raises Rejected as for a tenant that is not there. "" is the platform."""
    if admin.tenant is not None and tenant != admin.tenant:
        raise no_tenant(tenant) if tenant else Rejected(Why.DENIED, "only administrators of the platform may do this")


def need(admin: Admin, role: AdminRole) -> None:
    if _RANK[admin.role] < _RANK[role]:
        raise Rejected(Why.DENIED, f"needs the role {role}; {admin.name} has {admin.role}")


def own_platform(admin: Admin) -> None:
    """Raises Rejected unless `admin` is an owner of the platform."""
    see_tenant(admin, "")
    need(admin, "owner")


def may_write(admin: Admin, ref: Ref) -> None:
    """Raises Rejected unless `admin` may apply and delete `ref`."""
    if ref.kind in PLATFORM_SCOPE and admin.tenant is not None:
        raise Rejected(Why.DENIED, f"only administrators of the platform may change a {ref.kind}")
    if ref.kind not in PLATFORM_SCOPE:
        see_tenant(admin, ref.tenant)
    need(admin, "owner" if ref.kind in OWNERS_ONLY else "editor")
