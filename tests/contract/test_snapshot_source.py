"""What every SnapshotSource keeps to: the control plane's stream, and a folder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from adapters.crypto.sealing import Ed25519Signer, wrap_for_node
from adapters.files.snapshots import FolderSource, TenantFile
from core.resource import Problem
from core.snapshot import Manifest
from core.trust import Pinned
from tests.harness.fleet import ROOT, SIGNING_KEY, ControlPlane, HoldingNode, connected, control_plane
from tests.harness.postgres import Server


class Origin(Protocol):
    """A source, and the hand that changes what it brings."""

    plane: ControlPlane

    def following(self, node: HoldingNode) -> AbstractAsyncContextManager[object]: ...

    async def told(self, node: HoldingNode) -> None:
        """What was changed is published, for this node to see."""
        ...


class Stream:
    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane

    def following(self, node: HoldingNode) -> AbstractAsyncContextManager[object]:
        return connected(node, self.plane.target)

    async def told(self, node: HoldingNode) -> None:
        await self.plane.publisher_settled()


class Folder:
    """What is published, written down for one node as a folder holds it."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self._folder = folder
        for name in ("tenants", "parts"):
            (folder / name).mkdir()

    @asynccontextmanager
    async def following(self, node: HoldingNode) -> AsyncIterator[object]:
        signer = Ed25519Signer(SIGNING_KEY)
        node.pinned = Pinned(keys={signer.key_id: signer.public_key})
        task = asyncio.create_task(FolderSource(self._folder, poll_s=0.02).follow(node))
        yield task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def told(self, node: HoldingNode) -> None:
        await self.plane.publisher_settled()
        for one in await self.plane.publications.current(None):
            file = self._folder / "tenants" / f"{one.tenant}.json"
            if one.signed is None:
                file.unlink(missing_ok=True)
                continue
            for digest, data in (await self.plane.publications.parts(one.parts)).items():
                (self._folder / "parts" / digest.hex()).write_bytes(data)
            keys = await self.plane.vault.tenant_keys(one.tenant)
            assert keys is not None
            held = TenantFile(signed=one.signed, sealed_key=wrap_for_node(keys.data_key, node.key.public_key))
            new = file.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(held))
            new.rename(file)


@pytest.fixture(params=["stream", "folder"])
async def origin(request: pytest.FixtureRequest, postgres: Server, tmp_path: Path) -> AsyncIterator[Origin]:
    with postgres.fresh() as dsn:
        async with control_plane(dsn) as plane:
            yield Stream(plane) if request.param == "stream" else Folder(plane, tmp_path)


@pytest.fixture
def node() -> HoldingNode:
    return HoldingNode("node-1")


async def test_a_new_node_gets_everything(origin: Origin, node: HoldingNode) -> None:
    await origin.plane.tenant("acme", "clock")
    await origin.plane.tenant("other")
    await origin.told(node)
    async with origin.following(node):
        await node.until(lambda: set(node.manifests) == {"acme", "other"})
        assert node.tools("acme") == {}


async def test_a_change_is_brought(origin: Origin, node: HoldingNode) -> None:
    await origin.plane.tenant("acme")
    await origin.told(node)
    async with origin.following(node):
        await node.until(lambda: "acme" in node.manifests)
        before = node.generation("acme")
        await origin.plane.apply("RateLimit", "acme", "fair", {"calls": 5})
        await origin.told(node)
        await node.until(lambda: node.generation("acme") > before)


async def test_a_node_that_has_it_is_not_offered_it_with_parts_again(origin: Origin, node: HoldingNode) -> None:
    await origin.plane.tenant("acme")
    await origin.told(node)
    async with origin.following(node):
        await node.until(lambda: node.generation("acme") == origin.plane.plane.hub.generation("acme"))
    node.updates.clear()
    async with origin.following(node):
        await origin.plane.tenant("other")
        await origin.told(node)
        await node.until(lambda: "other" in node.manifests)
    again = [u for u in node.updates if msgspec.msgpack.decode(u.signed.manifest, type=Manifest).tenant == "acme"]
    assert all(not update.parts for update in again)


async def test_a_tenant_that_is_gone_is_withdrawn(origin: Origin, node: HoldingNode) -> None:
    await origin.plane.apply("Tenant", "", "acme", {})
    await origin.told(node)
    async with origin.following(node):
        await node.until(lambda: "acme" in node.manifests)
        await origin.plane.resources.delete(ROOT, "Tenant", "", "acme")
        await origin.told(node)
        await node.until(lambda: node.withdrawn == ["acme"])


async def test_a_tenant_that_went_while_nobody_followed_is_withdrawn(origin: Origin, node: HoldingNode) -> None:
    await origin.plane.apply("Tenant", "", "acme", {})
    await origin.plane.apply("Tenant", "", "other", {})
    await origin.told(node)
    async with origin.following(node):
        await node.until(lambda: set(node.manifests) == {"acme", "other"})
    await origin.plane.resources.delete(ROOT, "Tenant", "", "acme")
    await origin.told(node)
    async with origin.following(node):
        await node.until(lambda: node.withdrawn == ["acme"])
        assert set(node.manifests) == {"other"}


async def test_only_what_the_node_lacks_is_sent(origin: Origin, node: HoldingNode) -> None:
    await origin.plane.tenant("acme")
    await origin.told(node)
    async with origin.following(node):
        await node.until(lambda: "acme" in node.manifests)
        before = node.generation("acme")
        await origin.plane.apply("RateLimit", "acme", "fair", {"calls": 5})
        await origin.told(node)
        await node.until(lambda: node.generation("acme") > before)
    last = node.updates[-1]
    limits = [ref.digest for ref in node.manifests["acme"].parts if ref.kind == "limits"]
    assert list(last.parts) == limits


async def test_a_refusal_is_no_end_and_a_later_one_is_offered(origin: Origin, node: HoldingNode) -> None:
    await origin.plane.tenant("acme")
    await origin.told(node)
    node.refuse = lambda _: [Problem("policy_module", "cannot be read")]
    async with origin.following(node):
        await node.until(lambda: bool(node.updates))
        assert node.manifests == {}
        node.refuse = lambda _: []
        await origin.plane.apply("RateLimit", "acme", "fair", {"calls": 5})
        await origin.told(node)
        await node.until(lambda: node.generation("acme") > 0)


async def test_a_node_that_refuses_one_tenant_gets_the_others(origin: Origin, node: HoldingNode) -> None:
    await origin.plane.tenant("acme")
    await origin.plane.tenant("other")
    await origin.told(node)
    node.refuse = lambda manifest: [Problem("snapshot", "no")] if manifest.tenant == "acme" else []
    async with origin.following(node):
        await node.until(lambda: set(node.manifests) == {"other"})
