"""Every kind of resource there is. A new kind is one Struct in its concept's module and one line here."""

from core.audit_sink import AuditSink
from core.certificate import CertificateAuthority
from core.concurrency import ConcurrencyLimit
from core.endpoint import Endpoint
from core.guard import Guard
from core.identity import Agent, ApiKey, Role, RoleBinding, User
from core.issuer import IdentityProvider
from core.limits import RateLimit
from core.oauth.server import AuthorizationServer
from core.policy import Policy, PolicyTrial
from core.quota import Quota
from core.resource import Spec
from core.secret import Secret
from core.secret_store import SecretStore
from core.server import Server
from core.tenant import Namespace, Tenant
from core.webhook import Webhook

KINDS: dict[str, type[Spec]] = {
    kind.__name__: kind
    for kind in (
        Tenant,
        Namespace,
        User,
        Agent,
        ApiKey,
        Role,
        RoleBinding,
        IdentityProvider,
        CertificateAuthority,
        Server,
        Endpoint,
        Policy,
        PolicyTrial,
        RateLimit,
        Quota,
        ConcurrencyLimit,
        AuditSink,
        Guard,
        Secret,
        SecretStore,
        Webhook,
        AuthorizationServer,
    )
}

PLATFORM_SCOPE = frozenset({"Tenant"})
"""Kinds that belong to no tenant."""

TENANT_OPTIONAL = frozenset({"ApiKey"})
"""Kinds that may belong to no tenant: an ApiKey without one is a platform administrator's."""

_IRREGULAR = {"Policy": "policies", "CertificateAuthority": "certificateauthorities"}
PLURALS = {kind: _IRREGULAR.get(kind, kind.lower() + "s") for kind in KINDS}
"""Kind to the lower-case plural used in routes and on the command line."""

_BY_NAME = {name.lower(): kind for kind in KINDS for name in (kind, PLURALS[kind])}


def kind_named(text: str) -> str | None:
    """The kind meant: `Server` by `Server`, `server` and `servers`, in any case; None: there is no such kind."""
    return _BY_NAME.get(text.lower())
