"""Who is calling: administrators by their keys, gateways by their node tokens."""

import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from control_plane.services.authority import absent, own_platform
from control_plane.services.resources import change_entry
from control_plane.services.secrets import KEY_BYTES, TenantKeys, Vault
from core.admin import Admin, Credentials, KnownKey, Rejected, Why
from core.audit import Entry
from core.audit_outcomes import ChangeOutcome
from core.bound import Bound
from core.identity import KEY_PREFIX, ApiKey, key_hash, key_tenant
from core.node_token import NODES_MAX, TENANTS_MAX, NodeToken
from core.resource import NAME, NAME_RULE, Problem, Ref, Resource
from core.store import IssuedKey, Put, Store

PLATFORM = "-"
"""Stands for the tenant in a platform administrator's key."""
NODE_PREFIX = "tgn"
BOOTSTRAP = "bootstrap"
SECRET_BYTES = 24
ID_BYTES = 5
MAX_TOKEN = 256
CACHE_TTL_S = 0.5
"""How long a revoked admin key may still work on a replica that has just seen it."""
CACHE_SIZE = 2_048

ITSELF = Admin("toolgate", None, "owner")
"""What the control plane does by itself is done as this one."""

_KEY = re.compile(rf"{KEY_PREFIX}_(?:-|[a-z0-9-]{{1,63}})_[0-9a-z]+_[0-9A-Za-z]+")
_NODES = re.compile(r"[A-Za-z0-9_.*?-]{1,63}")
_NODE = re.compile(rf"{NODE_PREFIX}_[0-9a-z]+_[0-9A-Za-z]+")


def new_key(tenant: str, pepper: bytes, now: float) -> tuple[str, IssuedKey]:
    """A key's text, shown once, and what is kept of it."""
    key_id = secrets.token_hex(ID_BYTES)
    text = f"{KEY_PREFIX}_{tenant or PLATFORM}_{key_id}_{secrets.token_hex(SECRET_BYTES)}"
    return text, IssuedKey(key_id, key_hash(pepper, text.encode()), now)


class Access:
    def __init__(
        self, store: Store, credentials: Credentials, vault: Vault, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._credentials = credentials
        self._vault = vault
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, Admin]] = OrderedDict()
        self._evicted = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._seen), CACHE_SIZE, self._evicted)

    async def bootstrap(self) -> str | None:
        """The first platform administrator's key, while there is none; None once there is. It is shown here only.

        A platform whose last administrator was deleted gets a new one at the next start. Replicas that start together
        make one.
        """
        pepper = (await self._platform()).pepper
        async with self._store.writing("") as writing:
            if await writing.count("", "ApiKey"):
                return None
            now = self._clock()
            text, issued = new_key("", pepper, now)
            resource = Resource(
                kind="ApiKey",
                tenant="",
                name=BOOTSTRAP,
                spec=ApiKey(admin_role="owner"),
                generation=1,
                created_unix=now,
                updated_unix=now,
            )
            put = Put(resource=resource, key=issued, status=issued_status(issued))
            await writing.put(put, change_entry(ITSELF, resource.ref, "issued", {"key_id": issued.key_id}, now))
        return text

    async def identify(self, token: str) -> Admin:
        """The administrator a key proves. Raises Rejected: UNAUTHENTICATED, whatever the reason is, or UNAVAILABLE."""
        now = self._clock()
        if not _KEY.fullmatch(token) or len(token) > MAX_TOKEN:
            raise _unproven()
        mark = _mark(token)
        cached = self._seen.get(mark)
        if cached is not None and cached[0] > now:
            return cached[1]
        known = await self._known(token)
        admin = _admin(known, now) if known is not None else None
        if admin is None:
            self._seen.pop(mark, None)
            raise _unproven()
        self._seen[mark] = (now + CACHE_TTL_S, admin)
        self._seen.move_to_end(mark)
        while len(self._seen) > CACHE_SIZE:
            self._seen.popitem(last=False)
            self._evicted += 1
        return admin

    async def _known(self, token: str) -> KnownKey | None:
        claimed = key_tenant(token.encode()) or ""
        tenant = "" if claimed == PLATFORM else claimed
        keys = await self._vault.tenant_keys(tenant)
        # A tenant that is not there costs the same look-up as one that is: time tells nothing.
        pepper = keys.pepper if keys is not None else bytes(KEY_BYTES)
        known = await self._credentials.key(key_hash(pepper, token.encode()))
        return known if known is not None and keys is not None and known.tenant == tenant else None

    async def create_node_token(self, wanted: NodeToken, admin: Admin) -> str:
        """A gateway's token, shown here only; one of the same name is replaced, and its streams end."""
        own_platform(admin)
        problems = list(_token_problems(wanted, self._clock()))
        if problems:
            raise Rejected(Why.INVALID, "the node token is not valid", problems)
        text = f"{NODE_PREFIX}_{secrets.token_hex(ID_BYTES)}_{secrets.token_hex(SECRET_BYTES)}"
        await self.keep_node_token(wanted, text, admin)
        return text

    async def keep_node_token(self, wanted: NodeToken, token: str, admin: Admin) -> None:
        """Accept a token that was made before, such as one from a file; one that was revoked stays so."""
        if not _NODE.fullmatch(token):
            raise Rejected(
                Why.INVALID, "the node token is not valid", [Problem("token", "must read tgn_<id>_<secret>")]
            )
        token_hash = key_hash((await self._platform()).pepper, token.encode())
        detail: dict[str, object] = {
            "nodes": list(wanted.nodes),
            "tenants": list(wanted.tenants),
            "expires_unix": wanted.expires_unix,
        }
        await self._credentials.keep_node(wanted, token_hash, self._node_entry(admin, wanted.name, "issued", detail))

    async def node_tokens(self, admin: Admin) -> list[NodeToken]:
        """Every token there is or was; what proves them is kept nowhere."""
        own_platform(admin)
        return await self._credentials.nodes()

    async def revoke_node_token(self, name: str, admin: Admin) -> None:
        """Its streams end within a second. Raises Rejected (NOT_FOUND) for a token that is not there."""
        own_platform(admin)
        if not await self._credentials.keep_node(
            NodeToken(name=name), None, self._node_entry(admin, name, "revoked", {})
        ):
            raise absent(_token_ref(name))

    def _node_entry(self, admin: Admin, name: str, outcome: ChangeOutcome, detail: dict[str, object]) -> Entry:
        return change_entry(admin, _token_ref(name), outcome, detail, self._clock())

    async def identify_node(self, token: str) -> NodeToken:
        """What the token is good for. Raises Rejected as `identify` does."""
        known = None
        if _NODE.fullmatch(token) and len(token) <= MAX_TOKEN:
            known = await self._credentials.node(key_hash((await self._platform()).pepper, token.encode()))
        if known is None:
            raise Rejected(Why.UNAUTHENTICATED, "the node token is not valid")
        if known.expired(self._clock()):
            raise Rejected(Why.UNAUTHENTICATED, f"the node token {known.name} has expired")
        return known

    async def _platform(self) -> TenantKeys:
        keys = await self._vault.tenant_keys("")
        if keys is None:
            await self._vault.ensure_platform()
            keys = await self._vault.tenant_keys("")
        assert keys is not None
        return keys


def issued_status(issued: IssuedKey) -> dict[str, object]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(issued.issued_unix))
    until = issued.overlap_until_unix
    overlap = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until)) if until is not None else None
    return {"issued": True, "key_id": issued.key_id, "issued_at": at, "previous_until": overlap}


def _token_problems(wanted: NodeToken, now: float) -> Iterator[Problem]:
    if not NAME.fullmatch(wanted.name):
        yield Problem("name", NAME_RULE)
    if not 0 < len(wanted.nodes) <= NODES_MAX:
        yield Problem("nodes", f"must be 1 to {NODES_MAX} globs")
    for i, glob in enumerate(wanted.nodes):
        if not _NODES.fullmatch(glob):
            yield Problem(f"nodes[{i}]", "must be a node's name, in which * and ? stand for any letters, or one letter")
    if len(wanted.tenants) > TENANTS_MAX:
        yield Problem("tenants", f"must be at most {TENANTS_MAX}")
    for i, tenant in enumerate(wanted.tenants):
        # It need not exist yet: gateways are often set up before their tenants.
        if not NAME.fullmatch(tenant):
            yield Problem(f"tenants[{i}]", NAME_RULE)
    if wanted.expired(now):
        yield Problem("expires_at", "must be in the future")


def _token_ref(name: str) -> Ref:
    """How the audit log names a node's token."""
    return Ref("NodeToken", "", name)


def _admin(known: KnownKey, now: float) -> Admin | None:
    spec = known.spec
    expired = spec.expires_at is not None and spec.expires_at.timestamp() <= now
    if spec.admin_role is None or spec.revoked or expired:
        return None
    name = f"{known.tenant}/{known.name}" if known.tenant else known.name
    return Admin(name, known.tenant or None, spec.admin_role, spec.user, known.permissions if known.tenant else ())


def _unproven() -> Rejected:
    return Rejected(Why.UNAUTHENTICATED, "the admin token is not valid")


def _mark(token: str) -> str:
    """What the cache knows a token by: a dump of the cache gives no token away."""
    return key_hash(bytes(KEY_BYTES), token.encode()).hex()
