"""Whose signatures gateways believe: keys are made, announced, used and retired, on real servers."""

import asyncio
import secrets

import pytest

from adapters.crypto.sealing import Ed25519Signer
from adapters.postgres.database import Database
from adapters.postgres.trust import PostgresTrust
from control_plane.services.signing import Changed
from core.admin import Admin, Rejected, Why
from core.fleet import Node
from core.resource import Ref
from core.trust import Pinned
from tests.harness.fleet import ROOT, SIGNING_KEY, ControlPlane, HoldingNode, assemble, connected, control_plane
from tests.harness.postgres import Server

FIRST = Ed25519Signer(SIGNING_KEY).key_id


async def in_force(plane: ControlPlane, node: HoldingNode, tenant: str, signed_by: str) -> None:
    """Until the node holds the newest, as this key signed it."""
    await plane.publisher_settled()
    await node.until(
        lambda: (
            node.generation(tenant) == plane.plane.hub.generation(tenant) > 0
            and node.signed_by.get(tenant) == signed_by
        )
    )


async def shown(plane: ControlPlane, fits: object) -> Node:
    """The one node, as the fleet shows it, once it fits."""
    assert callable(fits)
    async with asyncio.timeout(20):
        while True:
            nodes = await plane.nodes.nodes(None)
            if nodes and fits(nodes[0]):
                return nodes[0]
            await asyncio.sleep(0.02)


async def test_a_rotated_key_signs_everything_and_the_old_one_can_be_retired(dsn: str) -> None:
    node = HoldingNode("node-1")
    async with control_plane(dsn) as plane, connected(node, plane.target):
        await plane.tenant("acme")
        await in_force(plane, node, "acme", FIRST)
        generation, parts = node.generation("acme"), dict(node.parts)
        rotated = await plane.signing.rotate(ROOT)
        assert rotated == Changed(rotated.key_id, 2, 1)
        await in_force(plane, node, "acme", rotated.key_id)
        assert set(node.pinned.keys) == {FIRST, rotated.key_id}
        # Signed anew: neither another generation nor a part is sent.
        assert (node.generation("acme"), node.parts) == (generation, parts)
        assert node.updates[-1].parts == {}
        await plane.apply("RateLimit", "acme", "fair", {"calls": 5})
        await in_force(plane, node, "acme", rotated.key_id)
        assert (await plane.signing.retire(ROOT, FIRST)).number == 3
        await node.until_trusted(3)
        assert set(node.pinned.keys) == {rotated.key_id}
        await plane.apply("RateLimit", "acme", "fair", {"calls": 6})
        await in_force(plane, node, "acme", rotated.key_id)
        assert node.distrusted == []
        assert (await shown(plane, lambda one: one.trust_number == 3)).trust_nack == ()


async def test_a_gateway_that_was_away_through_all_of_it_catches_up(dsn: str) -> None:
    node = HoldingNode("node-1")
    async with control_plane(dsn) as plane:
        await plane.tenant("acme")
        async with connected(node, plane.target):
            await in_force(plane, node, "acme", FIRST)
        before = FIRST
        for _ in range(3):
            after = (await plane.signing.rotate(ROOT)).key_id
            await plane.signing.retire(ROOT, before)
            before = after
        async with connected(node, plane.target):
            await in_force(plane, node, "acme", before)
        assert (node.pinned.number, set(node.pinned.keys), node.distrusted) == (7, {before}, [])
        # And one that never was here believes what it hears first, along the same chain.
        fresh = HoldingNode("node-2")
        async with connected(fresh, plane.target):
            await in_force(plane, fresh, "acme", before)


async def test_every_replica_signs_with_the_key_one_of_them_made(dsn: str) -> None:
    node = HoldingNode("node-1")
    async with (
        control_plane(dsn, replica="one") as one,
        control_plane(dsn, replica="two") as two,
        connected(node, two.target),
    ):
        await one.tenant("acme")
        await in_force(two, node, "acme", FIRST)
        rotated = await one.signing.rotate(ROOT)
        await in_force(two, node, "acme", rotated.key_id)
        await two.apply("RateLimit", "acme", "fair", {"calls": 5})
        await in_force(two, node, "acme", rotated.key_id)
        await two.signing.retire(ROOT, FIRST)
        await node.until_trusted(3)
        again = await two.signing.rotate(ROOT)
        await one.apply("RateLimit", "acme", "fair", {"calls": 6})
        await in_force(one, node, "acme", again.key_id)
        assert node.distrusted == []


async def test_replicas_that_rotate_at_once_make_one_key_and_nothing_is_lost(dsn: str) -> None:
    async with control_plane(dsn, replica="one") as one, control_plane(dsn, replica="two") as two:
        done = await asyncio.gather(
            *(plane.signing.rotate(ROOT) for plane in (one, two) for _ in range(3)), return_exceptions=True
        )
        made = [one_done for one_done in done if isinstance(one_done, Changed)]
        lost = [one_done for one_done in done if isinstance(one_done, Rejected)]
        assert len(made) + len(lost) == 6
        assert made
        assert {refusal.why for refusal in lost} <= {Why.CONFLICT}
        number, keys = await two.signing.list(ROOT)
        assert number == 1 + len(made)
        assert {known.key_id for known in keys} == {FIRST, *(change.key_id for change in made)}
        assert all(known.held_here for known in keys)


async def test_after_a_restart_the_rotated_key_signs_and_the_configured_one_does_not(dsn: str) -> None:
    node = HoldingNode("node-1")
    async with control_plane(dsn) as plane, connected(node, plane.target):
        await plane.tenant("acme")
        rotated = await plane.signing.rotate(ROOT)
        await plane.signing.retire(ROOT, FIRST)
        await in_force(plane, node, "acme", rotated.key_id)
    async with control_plane(dsn) as plane, connected(node, plane.target):
        await plane.apply("RateLimit", "acme", "fair", {"calls": 5})
        await in_force(plane, node, "acme", rotated.key_id)
        assert node.distrusted == []


async def test_a_control_plane_nobody_announced_is_refused_and_the_fleet_says_so(postgres: Server) -> None:
    node = HoldingNode("node-1")
    with postgres.fresh() as dsn:
        async with control_plane(dsn) as plane, connected(node, plane.target):
            await plane.tenant("acme")
            await in_force(plane, node, "acme", FIRST)
    held = dict(node.digests)
    with postgres.fresh() as dsn:
        async with control_plane(dsn, signing_key=secrets.token_bytes(32)) as plane:
            await plane.tenant("acme")
            await plane.signing.rotate(ROOT)
            await plane.publisher_settled()
            async with connected(node, plane.target):
                await node.until_distrusting()
                seen = await shown(plane, lambda one: one.trust_nack and one.tenants)
    assert "is signed by none of the keys pinned" in seen.trust_nack[0]
    assert (seen.trust_number, node.pinned.number) == (1, 1)
    assert set(node.pinned.keys) == {FIRST}
    assert node.digests == held


async def test_a_control_plane_restored_from_before_a_rotation_does_not_bring_the_old_key_back(
    postgres: Server,
) -> None:
    node = HoldingNode("node-1")
    with postgres.fresh() as dsn:
        async with control_plane(dsn) as plane, connected(node, plane.target):
            await plane.signing.rotate(ROOT)
            await node.until_trusted(2)
    with postgres.fresh() as dsn:
        async with control_plane(dsn) as plane, connected(node, plane.target):
            await node.until_distrusting()
    assert node.distrusted[0] == "announcement 1 is older than 2, which is pinned"


async def test_a_replica_that_has_not_heard_of_a_rotation_publishes_nothing_with_the_old_key(postgres: Server) -> None:
    with postgres.fresh() as dsn:
        one_base, two_base = await Database.open(dsn), await Database.open(dsn)
        one, late = assemble(one_base), assemble(two_base)
        await one.signing.start()
        await late.signing.start()
        await one.tenant("acme")
        await one.signing.rotate(ROOT)
        with pytest.raises(Rejected, match="the signing key is"):
            await late.plane.publisher.publish(["acme"])
        assert await late.publications.current(None) == []
        await late.signing.refresh()
        (published,) = await late.plane.publisher.publish(["acme"])
        assert published.signed is not None
        assert published.signed.key_id == one.signing.signer.key_id
        await one_base.close()
        await two_base.close()


async def test_a_key_that_signs_cannot_be_retired_nor_one_that_is_not_there(dsn: str) -> None:
    async with control_plane(dsn) as plane:
        for key_id, why in ((FIRST, Why.IN_USE), ("0" * 16, Why.NOT_FOUND)):
            with pytest.raises(Rejected) as refusal:
                await plane.signing.retire(ROOT, key_id)
            assert refusal.value.why is why
        for admin in (Admin("a", "acme", "owner"), Admin("e", None, "editor")):
            for attempt in (plane.signing.rotate(admin), plane.signing.list(admin), plane.signing.retire(admin, FIRST)):
                with pytest.raises(Rejected) as refusal:
                    await attempt
                assert refusal.value.why is Why.DENIED
        assert len(plane.signing.chain) == 1


async def test_keys_do_not_pile_up_past_what_gateways_accept(dsn: str) -> None:
    async with control_plane(dsn) as plane:
        for _ in range(15):
            await plane.signing.rotate(ROOT)
        with pytest.raises(Rejected, match="retire one first") as refusal:
            await plane.signing.rotate(ROOT)
        assert refusal.value.why is Why.INVALID


async def test_a_key_given_by_settings_takes_over_once_it_is_announced_and_not_before(dsn: str) -> None:
    given = secrets.token_bytes(32)
    new = Ed25519Signer(given)
    node = HoldingNode("node-1")
    async with control_plane(dsn) as plane, connected(node, plane.target):
        await plane.tenant("acme")
        await in_force(plane, node, "acme", FIRST)
    database = await Database.open(dsn)
    with pytest.raises(Rejected, match="is none that gateways trust"):
        await assemble(database, signing_key=given).signing.start()
    before = assemble(database, trusted={new.key_id: new.public_key})
    await before.signing.start()
    await before.signing.start()
    assert [one.number for one in before.signing.chain] == [1, 2]
    await database.close()
    async with control_plane(dsn, signing_key=given) as plane, connected(node, plane.target):
        await in_force(plane, node, "acme", new.key_id)
        assert (node.pinned.number, node.distrusted) == (3, [])


async def test_no_private_half_is_in_the_database_and_a_retired_one_is_gone(dsn: str) -> None:
    async with control_plane(dsn) as plane:
        made = (await plane.signing.rotate(ROOT)).key_id
        async with plane.database.connection() as conn:
            row = await (await conn.execute("SELECT sealed FROM sealed_values WHERE kind = 'SigningKey'")).fetchone()
        assert row is not None
        announcements = PostgresTrust(plane.database)
        private = plane.vault.open(Ref("SigningKey", "", made), (await announcements.private())[made])
        assert Ed25519Signer(private).key_id == made
        assert private not in bytes(row[0])
        await plane.signing.rotate(ROOT)
        await plane.signing.retire(ROOT, made)
        assert made not in await announcements.private()


async def test_a_node_whose_operator_gave_it_a_later_key_starts_there(dsn: str) -> None:
    node = HoldingNode("node-1")
    async with control_plane(dsn) as plane:
        await plane.tenant("acme")
        rotated = await plane.signing.rotate(ROOT)
        await plane.signing.retire(ROOT, FIRST)
        public = plane.signing.newest.keys[rotated.key_id]
        node.pinned = Pinned(keys={rotated.key_id: public})
        async with connected(node, plane.target):
            await in_force(plane, node, "acme", rotated.key_id)
        assert (node.pinned.number, node.distrusted) == (3, [])
