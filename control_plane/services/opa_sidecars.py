"""What tenants' OPA sidecars are given and tell: signed bundles of the rules in force, their state, their decisions."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from control_plane.services.authority import may, no_tenant, see_tenant
from control_plane.services.opa_bundle import BundleSigner, bundle
from control_plane.services.opa_config import config
from core.admin import Admin, Rejected, Why
from core.bound import Bound, Hits
from core.fleet import Published
from core.node_token import NodeToken
from core.opa import ID_CHARS, REASONS_MAX, TEXT_CHARS, SidecarBook, SidecarDecision, SidecarState
from core.policy import RegoModules, Revision, normalise
from core.resource import Ref
from core.snapshot import Manifest, PolicyData
from core.store import Store

T = TypeVar("T")

WAIT_MAX_S = 60.0
BUNDLES_KEPT = 64
WAITERS_MAX = 1000
DECISIONS_MAX = 20_000
"""In one report."""
LISTED_MAX = 500
KEPT_S = 7 * 86400.0


class Publishing(Protocol):
    """What is in force, and its parts."""

    def published(self, tenant: str) -> Published | None: ...

    async def next(self, tenant: str) -> None: ...


Parts = Callable[[Sequence[bytes]], Awaitable[dict[bytes, bytes]]]
Secret = Callable[[str], Awaitable[bytes | None]]
"""A tenant's 32 bytes that what signs its bundles follows from; None: there is no such tenant."""
Identify = Callable[[str], Awaitable[NodeToken]]


class Ready(NamedTuple):
    """A bundle as it is answered."""

    mark: str
    """Equal where the rules and who signs them are."""
    content: bytes


class _Status(msgspec.Struct):
    """Of a report: https://www.openpolicyagent.org/docs/management-status"""

    labels: dict[str, str] = {}
    bundles: dict[str, dict[str, object]] = {}


class _Logged(msgspec.Struct):
    """Of a line: https://www.openpolicyagent.org/docs/management-decision-logs"""

    decision_id: str = ""
    labels: dict[str, str] = {}
    bundles: dict[str, dict[str, object]] = {}
    path: str = ""
    result: object = None
    timestamp: str = ""


class Ports(NamedTuple):
    publishing: Publishing
    parts: Parts
    secret: Secret
    signer: Callable[[bytes], BundleSigner]
    identify: Identify
    book: SidecarBook
    store: Store


class OpaSidecars:
    def __init__(self, ports: Ports, *, clock: Callable[[], float] = time.time) -> None:
        self._ports = ports
        self._clock = clock
        self._made: OrderedDict[str, Ready] = OrderedDict()
        self._made_full = Hits()
        self._making: dict[tuple[str, str], asyncio.Task[Ready]] = {}
        """By tenant and mark: however many ask for a bundle at once, it is made once."""
        self._waiting: set[asyncio.Timeout] = set()
        self._refused = 0
        self._departing = False

    def bounds(self) -> dict[str, Bound]:
        return {
            "opa_bundles": Bound(len(self._made), BUNDLES_KEPT, self._made_full.count),
            "opa_bundles_awaited": Bound(len(self._waiting), WAITERS_MAX, self._refused),
        }

    # === for sidecars ===

    async def admit(self, token: str, tenant: str) -> None:
        """Raises Rejected: UNAUTHENTICATED, or NOT_FOUND for a tenant the token is not for, as for one that is not."""
        if not (await self._ports.identify(token)).covers(tenant):
            raise absent(tenant)

    async def bundle(self, tenant: str, known: str = "", wait_s: float = 0.0) -> Ready | None:
        """The newest; None: it is still `known` after so long. Raises Rejected (NOT_FOUND) where no sidecar decides."""
        deadline = asyncio.get_running_loop().time() + min(wait_s, WAIT_MAX_S)
        while (ready := await self._ready(tenant)).mark == known:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or not await self._news(tenant, left):
                return None
        return ready

    async def config(self, tenant: str, url: str) -> dict[str, object]:
        """What an OPA is started with; `url`: of this tenant's paths."""
        return config(tenant, url, await self._signer(tenant))

    async def status(self, tenant: str, body: bytes) -> None:
        """Raises Rejected (INVALID)."""
        said = _read(body, _Status)
        about = said.bundles.get(tenant, {})
        problem = str(about.get("message") or about.get("code") or "")
        await self._ports.book.state(
            SidecarState(
                tenant=tenant,
                id=_id(said.labels),
                version=_text(said.labels.get("version")),
                revision=_text(about.get("active_revision")),
                problem=_text(problem),
                seen_unix=self._clock(),
            )
        )

    async def decided(self, tenant: str, body: bytes) -> None:
        """Raises Rejected (INVALID)."""
        lines = _read(body, list[_Logged])
        if len(lines) > DECISIONS_MAX:
            raise Rejected(Why.INVALID, f"a report holds at most {DECISIONS_MAX} decisions")
        by_sidecar: dict[str, dict[str, SidecarDecision]] = {}
        for line in lines:
            decision = _decision(line, tenant, self._clock())
            if decision is not None:
                by_sidecar.setdefault(_id(line.labels), {})[decision.id] = decision
        for sidecar, decisions in by_sidecar.items():
            await self._ports.book.decided(tenant, sidecar, list(decisions.values()), self._clock())

    def depart(self) -> None:
        """Nobody waits here any more: the process is to end."""
        self._departing = True
        for waiting in self._waiting:
            waiting.reschedule(0.0)

    async def _news(self, tenant: str, wait_s: float) -> bool:
        if self._departing or len(self._waiting) >= WAITERS_MAX:
            self._refused += not self._departing
            return False
        try:
            async with asyncio.timeout(wait_s) as waiting:
                self._waiting.add(waiting)
                await self._ports.publishing.next(tenant)
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(waiting)
        return True

    async def _ready(self, tenant: str) -> Ready:
        published = self._ports.publishing.published(tenant)
        if published is None or published.signed is None:
            raise absent(tenant)
        manifest = msgspec.msgpack.decode(published.signed.manifest, type=Manifest)
        signer = await self._signer(tenant)
        mark = f'"{manifest.policy_digest().hex()}-{signer.key_id}"'
        made = self._made.get(tenant)
        if made is None or made.mark != mark:
            making = self._making.get((tenant, mark))
            if making is None:
                making = self._making[tenant, mark] = asyncio.create_task(self._make(manifest, mark, signer))
                making.add_done_callback(lambda done: self._done((tenant, mark), done))
            # Whoever hangs up ends it for nobody else.
            made = await asyncio.shield(making)
        if tenant in self._made:
            self._made.move_to_end(tenant)
        return made

    def _done(self, key: tuple[str, str], made: asyncio.Task[Ready]) -> None:
        del self._making[key]
        if not made.cancelled():
            made.exception()  # Told to whoever waits, if anybody still does.

    async def _make(self, manifest: Manifest, mark: str, signer: BundleSigner) -> Ready:
        tenant, revision = manifest.tenant, Revision(manifest.generation, manifest.policy_digest())
        modules, data = await self._rules(manifest)
        made = Ready(mark, await asyncio.to_thread(bundle, tenant, revision, modules, data, signer))
        self._made[tenant] = made
        while len(self._made) > BUNDLES_KEPT:
            self._made.popitem(last=False)
            self._made_full.count += 1
        return made

    async def _rules(self, manifest: Manifest) -> tuple[RegoModules, PolicyData]:
        digests = {ref.kind: ref.digest for ref in manifest.parts if ref.kind in ("policy_module", "policy_data")}
        read = await self._ports.parts(list(digests.values()))
        data = msgspec.msgpack.decode(read[digests["policy_data"]], type=PolicyData)
        if data.engine != "sidecar":
            raise absent(manifest.tenant)
        return msgspec.msgpack.decode(read[digests["policy_module"]], type=RegoModules), data

    async def _signer(self, tenant: str) -> BundleSigner:
        secret = await self._ports.secret(tenant)
        if secret is None:
            raise absent(tenant)
        return self._ports.signer(hashlib.blake2b(tenant.encode(), key=secret, person=b"toolgate opa").digest())

    # === for people ===

    async def sidecars(self, admin: Admin, tenant: str) -> list[SidecarState]:
        await self._may_see(admin, tenant)
        return await self._ports.book.sidecars(tenant)

    async def decisions(self, admin: Admin, tenant: str, limit: int) -> list[tuple[str, SidecarDecision]]:
        """The newest first."""
        await self._may_see(admin, tenant)
        return await self._ports.book.decisions(tenant, min(limit or LISTED_MAX, LISTED_MAX))

    async def prune(self) -> int:
        """A chore."""
        return await self._ports.book.prune(self._clock() - KEPT_S)

    async def _may_see(self, admin: Admin, tenant: str) -> None:
        see_tenant(admin, tenant)
        may(admin, "list", Ref("Policy", tenant, ""), "viewer", labels={})
        if not tenant or await self._ports.store.get(Ref("Tenant", "", tenant)) is None:
            raise no_tenant(tenant)


def absent(tenant: str) -> Rejected:
    return Rejected(Why.NOT_FOUND, f"no sidecar decides for a tenant {tenant[:64]}")


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as failure:
        raise Rejected(Why.INVALID, f"the report cannot be read: {failure}") from failure


def _id(labels: dict[str, str]) -> str:
    return _text(labels.get("id"))[:ID_CHARS] or "unnamed"


def _text(said: object) -> str:
    return said.replace("\0", "")[:TEXT_CHARS] if isinstance(said, str) else ""


def _decision(line: _Logged, tenant: str, now: float) -> SidecarDecision | None:
    """None: it is no decision about a call."""
    if not line.decision_id or not line.path.startswith("toolgate/authz/"):
        return None
    try:
        at = datetime.fromisoformat(line.timestamp).timestamp()
    except ValueError:
        at = now
    said = line.result if isinstance(line.result, dict) else None
    judged = normalise(said) if said is not None and isinstance(said.get("allow"), bool) else None
    return SidecarDecision(
        id=_text(line.decision_id)[:ID_CHARS],
        at_unix=min(at, now),
        revision=_text(line.bundles.get(tenant, {}).get("revision")),
        path=_text(line.path),
        allowed=judged.allow if judged is not None else None,
        reasons=tuple(_text(reason).replace("\x1f", "") for reason in judged.reasons[:REASONS_MAX]) if judged else (),
    )
