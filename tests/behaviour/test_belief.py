"""Whom the planes believe, with real processes: keys that change, disks that are put back, tokens that are bound."""

import json
import os
import shutil
from pathlib import Path

from tests.behaviour.conftest import World
from tests.harness.planes import Node, until


async def keys(world: World) -> dict[str, bool]:
    """Key id to whether it signs."""
    listed = json.loads(await world.planes.toolgate("signing-key", "list", "-o", "json"))
    return {str(one["id"]): bool(one["signs"]) for one in listed["keys"]}


async def trusted(world: World, number: int) -> None:
    """Until the gateway has this announcement."""

    async def has() -> bool:
        return f"toolgate_trust_number {number}" in await world.node.metrics()

    await until(has, f"announcement {number}")


async def current(world: World) -> None:
    """Until the gateway holds the newest of its tenant, and the fleet says so."""

    async def is_current() -> bool:
        (node,) = json.loads(await world.planes.toolgate("fleet", "-o", "json"))["nodes"]
        held = node.get("tenants", [])
        return bool(held) and all(one["applied"] == one["current"] for one in held)

    await until(is_current, "the newest on the gateway")


async def restarted(world: World) -> None:
    world.planes.kill_control_plane()
    world.planes.start_control_plane()
    await world.planes.control_plane_ready()


async def test_signing_keys_change_while_the_gateway_is_away_and_it_then_serves_from_its_disk(world: World) -> None:
    await trusted(world, 1)
    (first,) = await keys(world)
    world.node.stop()
    for _ in range(2):
        await world.planes.toolgate("signing-key", "rotate")
        for old, signs in (await keys(world)).items():
            if not signs:
                await world.planes.toolgate("signing-key", "retire", old)
    assert first not in await keys(world)
    await restarted(world)
    world.node.start()
    await world.node.ready()
    await trusted(world, 5)
    await world.planes.apply("{kind: RateLimit, tenant: acme, name: fair, spec: {calls: 100000}}")
    await current(world)
    assert "toolgate_trust_nacks_total 0" in await world.node.metrics()
    world.planes.kill_control_plane()
    world.node.stop()
    world.node.start()
    await world.node.ready()
    assert (await world.agent().call("echo")).ok


async def test_an_older_snapshot_put_back_on_the_disk_serves_nobody(world: World, tmp_path: Path) -> None:
    await current(world)
    world.node.stop()
    data = world.node.data_dir
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    world.node.start()
    await world.node.ready()
    await world.planes.toolgate("key", "revoke", "--name", "helper-ada", "--tenant", "acme")
    await current(world)
    world.node.stop()
    world.planes.kill_control_plane()
    for name in ("tenants", "parts"):
        shutil.rmtree(data / name)
        shutil.copytree(copy / name, data / name)
    world.node.start()

    async def refuses() -> bool:
        return "toolgate_snapshot_rolled_back 1" in await world.node.metrics()

    await until(refuses, "the older snapshot is refused")
    assert not await world.node.is_ready()
    assert "is rolled back: generation" in log_of(world.node, tmp_path)
    world.planes.start_control_plane()
    await world.planes.control_plane_ready()
    await world.node.ready()
    assert (await world.agent().call("echo")).status == 401


async def test_a_gateway_whose_token_is_for_another_name_is_turned_away_and_told_why(
    world: World, tmp_path: Path
) -> None:
    bound = await world.planes.toolgate("node-token", "create", "--node", "edge-1", "--tenant", "acme")
    token = next(line for line in bound.splitlines() if line.startswith("tgn_"))
    file = tmp_path / "edge.token"
    file.write_text(token + "\n")
    os.chmod(file, 0o600)
    edge, stranger = (Node(world.planes, name, 1, {}) for name in ("edge-1", "edge-2"))
    for node in (edge, stranger):
        node.token_file = file
        world.planes.nodes.append(node)
        node.start()
    await edge.ready()
    agent = edge.agent(world.key)

    async def served() -> bool:
        return (await agent.call("echo")).ok

    await until(served, "the gateway it is for serves")
    await agent.close()

    async def turned_away() -> bool:
        return "hello.node is edge-2, and this credential is for edge-1" in log_of(stranger, tmp_path)

    await until(turned_away, "the stranger is turned away")
    assert not await stranger.is_ready()
    await world.planes.toolgate("node-token", "revoke", "--name", "edge-1")

    async def ended() -> bool:
        return "UNAUTHENTICATED: the node token is not valid" in log_of(edge, tmp_path)

    await until(ended, "the revoked token's stream ends", 5)


def log_of(node: Node, folder: Path) -> str:
    return (folder / f"{node.name}.log").read_text()
