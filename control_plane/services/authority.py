"""Who may do what to which resource. Whoever may not see a thing hears what is heard of a thing that is not there."""

from collections.abc import Mapping

from core.admin import Admin, Rejected, Why
from core.identity import AdminRole, AdminVerb
from core.kinds import PLATFORM_SCOPE
from core.resource import Ref

_RANK: dict[AdminRole, int] = {"bound": -1, "viewer": 0, "editor": 1, "owner": 2}
OWNERS_ONLY = frozenset(
    {"ApiKey", "Secret", "SecretStore", "AuthorizationServer", "IdentityProvider", "CertificateAuthority", "AuditSink"}
)
"""Whoever could change a key could raise its role, a secret is its owner's, and so is where the login to a store is
sent; who is let in by whom is decided by authorization servers, issuers and authorities: editors only see that they
exist."""


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


def may(admin: Admin, verb: AdminVerb, ref: Ref, role: AdminRole, *, labels: Mapping[str, str] | None = None) -> None:
    """Raises Rejected unless `admin` has the role, or a permission for the verb on `ref`, with these labels.

    Nobody hears whether `ref` is there: give what is not there no labels. None: to be asked again with them.
    """
    if not is_allowed(admin, verb, ref, role, labels=labels):
        needed = f"needs the role {role}, or the permission {verb} on {ref.kind}/{ref.name or '*'}"
        raise Rejected(Why.DENIED, f"{needed}; {admin.name} has the role {admin.role}")


def is_allowed(
    admin: Admin, verb: AdminVerb, ref: Ref, role: AdminRole, *, labels: Mapping[str, str] | None = None
) -> bool:
    """As `may`, of a tenant that is the administrator's own."""
    if _RANK[admin.role] >= _RANK[role]:
        return True
    return any(one.allows(verb, ref.kind, ref.name, labels) for one in admin.permissions)


def may_list(admin: Admin, kind: str) -> None:
    """Raises Rejected where `admin` may see nothing of a kind; what of it is for `is_allowed` to say."""
    if _RANK[admin.role] < _RANK["viewer"] and not any(
        "list" in one.verbs and (not kind or kind in one.kinds or "*" in one.kinds) for one in admin.permissions
    ):
        needed = f"needs the role viewer, or the permission list on {kind or 'some kind'}"
        raise Rejected(Why.DENIED, f"{needed}; {admin.name} has the role {admin.role}")


def own_platform(admin: Admin) -> None:
    """Raises Rejected unless `admin` is an owner of the platform."""
    see_tenant(admin, "")
    need(admin, "owner")


def may_write(admin: Admin, ref: Ref, verb: AdminVerb = "apply", *, labels: Mapping[str, str] | None = None) -> None:
    """Raises Rejected unless `admin` may apply or delete `ref`; `labels` as in `may`."""
    if ref.kind in PLATFORM_SCOPE and admin.tenant is not None:
        raise Rejected(Why.DENIED, f"only administrators of the platform may change a {ref.kind}")
    if ref.kind not in PLATFORM_SCOPE:
        see_tenant(admin, ref.tenant)
    may(admin, verb, ref, "owner" if ref.kind in OWNERS_ONLY else "editor", labels=labels)
