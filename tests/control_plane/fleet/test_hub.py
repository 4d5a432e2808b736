"""Who is asked to look at a server, while snapshots come into force."""

import asyncio
from collections.abc import Collection, Sequence

from control_plane.fleet.hub import Hub
from core.fleet import Published
from core.publication import Publications
from core.server import Observation
from core.snapshot import SignedManifest
from core.trust import Announcement

SIGNED = SignedManifest(manifest=b"", key_id="k", signature=b"")


class Nothing(Publications):
    """No publications: what is in force is announced by the tests."""

    async def current(self, tenants: Collection[str] | None = None) -> list[Published]:
        return []

    async def parts(self, digests: Collection[bytes]) -> dict[bytes, bytes]:
        return {}


class Node:
    """A connected gateway, in as far as the hub sees it."""

    node = "n1"
    public_key = b"k"

    def want(self, published: Published) -> None: ...

    async def probe(self, tenant: str, server: str, watch_s: int) -> Observation:
        return Observation(era="modern", server_info={"name": server})

    def replace(self, why: str) -> None: ...

    def trust_changed(self) -> None: ...


async def _no_key(tenant: str) -> bytes:
    return b""


async def _no_news() -> Sequence[Announcement]:
    return ()


def hub(applied_within_s: float = 5.0) -> tuple[Hub, Node]:
    made, node = Hub(Nothing(), _no_key, _no_news, applied_within_s=applied_within_s), Node()
    made.join(node)
    return made, node


def publish(hub: Hub, generation: int) -> None:
    hub.announce([Published(tenant="acme", generation=generation, signed=SIGNED)])


async def test_a_look_waits_for_the_snapshot_that_is_on_its_way() -> None:
    made, node = hub()
    publish(made, 1)
    made.applied(node, "acme", 1)
    publish(made, 2)  # Between the claim and the look: nobody has the newest.
    look = asyncio.create_task(made.look("acme", "shop", 60))
    await asyncio.sleep(0)
    assert not look.done()
    made.applied(node, "acme", 2)
    assert (await asyncio.wait_for(look, 5)).server_info == {"name": "shop"}


async def test_a_snapshot_that_comes_into_force_nowhere_is_a_look_that_failed() -> None:
    made, _ = hub(applied_within_s=0.01)
    publish(made, 1)
    seen = await made.look("acme", "shop", 60)
    assert (seen.looked, seen.error) == (False, "no connected gateway serves this tenant")
