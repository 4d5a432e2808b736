"""The moving parts of publishing and the fleet, put together: what `main` starts as one task."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from control_plane.fleet.hub import DataKey, Hub
from control_plane.fleet.roster import Roster
from control_plane.fleet.token_news import TokenNews
from control_plane.services.definitions import Learning
from control_plane.services.fleet_view import Refusals, report_refusals
from control_plane.services.publisher import Policies, Ports, Publisher
from control_plane.services.screening import Screening
from control_plane.services.signing import SigningKeys
from core.admin import Rejected
from core.definition import Definitions
from core.fleet import Nodes, Published
from core.guard import Matcher
from core.publication import Publications
from core.resource import Ref
from core.sealing import Sealer
from core.secret import Sealed
from core.store import Statuses, Store
from core.trust import Announcement

CHANNELS = ("toolgate_changed", "toolgate_published", "toolgate_look", "toolgate_trust", "toolgate_node_tokens")
"""What to listen to for `run`."""
GATHER_S = 0.002
SWEEP_S = 600.0
RETRY_S = 1.0

Notices = AsyncIterator[tuple[str, str]]
"""(channel, payload); ("", "") first and after every reconnection: notices may have been missed."""

log = logging.getLogger("toolgate.fleet")


class FleetNodes(Nodes, Refusals, Protocol):
    """All that is kept of nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where everything is kept, and who seals and signs."""

    publications: Publications
    definitions: Definitions
    nodes: FleetNodes
    store: Store
    statuses: Statuses
    policies: Policies
    open_sealed: Callable[[Ref, Sealed], bytes]
    data_key: DataKey
    sealer: Sealer
    signing: SigningKeys
    matcher: Matcher
    connect_url: str = ""
    """Where people connect accounts at servers; empty: nowhere."""


class FleetPlane:
    """Publisher, hub, roster and learning of one replica."""

    def __init__(self, stores: Stores, replica: str) -> None:
        self.hub = Hub(stores.publications, stores.data_key, self._chain)
        self.screening = Screening(stores.matcher)
        self.learning = Learning(stores.definitions, stores.store, stores.statuses, self.hub, self.screening)
        self.hub.on_able = self.learning.wake
        self.hub.on_changed = self.learning.changed
        self.roster = Roster(replica, stores.nodes, self.hub.superseded)
        self.tokens = TokenNews()
        self.on_declared: Callable[[str], None] = lambda _tenant: None
        """Told of a tenant that changed; "": of any. Set by the root."""
        self.publisher = Publisher(_ports(stores, self.hub))
        self.loaded = asyncio.Event()
        """Set once what is in force is known: streams before that would be told that every tenant is gone."""
        self._stores = stores
        self._published: set[str] = set()
        self._news = asyncio.Event()
        self._trust = asyncio.Event()

    async def run(self, notices: Notices) -> None:
        """For ever, in one task group; every part waits by itself while the database is away."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(notices))
            for part in (
                self.publisher.run,
                self.learning.run,
                lambda: self.roster.run(self._report),
                self._announce,
                self._follow_trust,
                self._sweep,
            ):
                tasks.create_task(_kept_running(part))

    async def _listen(self, notices: Notices) -> None:
        async for channel, payload in notices:
            if not channel:
                self.tokens.tell("")
                self.on_declared("")
                await self._reload()
            elif channel == "toolgate_changed":
                tenant = payload.partition(":")[2]
                if tenant:
                    self.on_declared(tenant)
                    await self.publisher.due([tenant])
            elif channel == "toolgate_published":
                self._published.add(payload)
                self._news.set()
            elif channel == "toolgate_trust":
                self._trust.set()
            elif channel == "toolgate_node_tokens":
                self.tokens.tell(payload)
            else:
                self.learning.wake()

    async def _reload(self) -> None:
        """Everything may have changed: what is in force, and what is not published yet."""
        while True:
            try:
                await self._stores.signing.start()
                await self.hub.learn_trust()
                await self.hub.load()
                self.loaded.set()
                await self.publisher.catch_up()
                return
            except Rejected as away:
                log.warning("what is in force cannot be read: %s", away.public)
                await asyncio.sleep(RETRY_S)

    async def _announce(self) -> None:
        """What other replicas published, several at once where they come together."""
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_S)
            self._news.clear()
            tenants, self._published = self._published, set()
            try:
                await self.hub.load(tenants)
            except Rejected as away:
                log.warning("what was published cannot be read: %s", away.public)
                self._published |= tenants
                await asyncio.sleep(RETRY_S)
                self._news.set()

    async def _chain(self) -> Sequence[Announcement]:
        """As it is now; from here on this replica signs with the key in force."""
        await self._stores.signing.refresh()
        return self._stores.signing.chain

    async def _follow_trust(self) -> None:
        """A signing key was made or retired, here or at another replica."""
        while True:
            await self._trust.wait()
            self._trust.clear()
            try:
                await self.hub.learn_trust()
            except Rejected as away:
                log.warning("the signing keys cannot be read: %s", away.public)
                await asyncio.sleep(RETRY_S)
                self._trust.set()

    async def _sweep(self) -> None:
        """Parts that nothing names any more."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self._stores.publications.collect()
            except Rejected as away:
                log.warning("parts are not collected: %s", away.public)

    async def _report(self, tenants: set[str]) -> None:
        await report_refusals(self._stores.nodes, self._stores.statuses, tenants)


async def _kept_running(part: Callable[[], Awaitable[None]]) -> None:
    """A bug in one part is logged and that part starts anew: streams and the other parts go on."""
    while True:
        try:
            await part()
        except Exception:
            log.exception("a part of the fleet's plane failed and starts anew")
            await asyncio.sleep(RETRY_S)


def _ports(stores: Stores, hub: Hub) -> Ports:
    def announce(published: Sequence[Published]) -> None:
        hub.announce(published)

    return Ports(
        publications=stores.publications,
        definitions=stores.definitions,
        statuses=stores.statuses,
        policies=stores.policies,
        parts=hub.parts,
        open_sealed=stores.open_sealed,
        sealer=stores.sealer,
        signer=stores.signing.signer,
        keep_key=hub.keep_key,
        announce=announce,
        connect_url=stores.connect_url,
        matcher=stores.matcher,
    )
