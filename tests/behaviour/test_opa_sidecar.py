"""A tenant whose calls a stock OPA decides, beside the gateway and fed by the control plane."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.behaviour.conftest import ACME, World
from tests.harness.hostile import Hostile
from tests.harness.planes import CommandFailed, Planes, until
from tests.harness.sidecar import OpaServer
from tests.harness.upstream_raw import scripted

BESIDE = ACME.replace("name: acme\nspec: {}", "name: acme\nspec: {policy_engine: sidecar}", 1)
OWN = """
kind: Policy
tenant: acme
name: own
spec:
  rego: |
    package toolgate.tenant.own

    # What the policy compiled to WASM cannot do.
    deny contains "unlucky" if crypto.sha256(input.tool.name) == crypto.sha256("drips_card")
"""


@dataclass
class Beside(World):
    opa: OpaServer | None = None


def asked(planes: Planes, path: str, token: str, body: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{planes.admin_port}{path}", data=body)
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


@pytest.fixture
async def beside(planes: Planes) -> AsyncIterator[Beside]:
    hostile = Hostile()
    folder = planes.folder / "opas"
    folder.mkdir()
    async with scripted(hostile) as upstream:
        await planes.apply(BESIDE.replace("URL", upstream.url))
        key = await planes.key("acme", "helper-ada", user="ada", agent="helper")
        token = (planes.folder / "node.token").read_text().strip()

        async def configured() -> bool:
            return (await asyncio.to_thread(asked, planes, "/opa/acme/config.json", token))[0] == 200

        await until(configured, "the sidecar's settings")
        settings = json.loads((await asyncio.to_thread(asked, planes, "/opa/acme/config.json", token))[1])
        opa = OpaServer(folder / "acme", settings, token)
        await asyncio.to_thread(opa.start)
        node = await planes.node(TOOLGATE_OPA_SIDECAR=f"unix://{folder}/{{tenant}}/opa.sock")
        world = Beside(planes, node, upstream, hostile, key, opa=opa)
        try:
            await world.listed("echo")
            yield world
        finally:
            for agent in world.agents:
                await agent.close()
            opa.stop()


async def test_calls_and_lists_are_decided_beside_the_gateway_and_rules_change_without_a_gap(beside: Beside) -> None:
    agent = beside.agent()
    assert (await agent.call("echo")).ok
    assert (await agent.call("counts")).status == 400
    assert "counts" not in await agent.tools()
    with pytest.raises(CommandFailed, match="does not exist"):
        await beside.planes.toolgate("policy", "sidecars", "--tenant", "nobody")
    await beside.planes.apply(OWN)
    lost: list[object] = []

    async def refused() -> bool:
        lost.extend(reply for reply in [await agent.call("echo")] if not reply.ok)
        return "drips_card" not in await agent.tools()

    await until(refused, "the tenant's own Rego in force")
    assert not lost, "calls that both rules allow go on"
    assert (await agent.call("drips_card")).status == 400
    token = (beside.planes.folder / "node.token").read_text().strip()
    admin = (beside.planes.folder / "admin.token").read_text().strip()

    async def told() -> bool:
        path = "/v1/tenants/acme/policy/sidecars/decisions"
        status, body = await asyncio.to_thread(asked, beside.planes, path, admin)
        assert status == 200
        assert b"staff" not in body, "what was asked stays with the gateway's own records"
        return ["tenant:unlucky"] in [one["reasons"] for one in json.loads(body)["decisions"]]

    await until(told, "the sidecar told of its decisions")
    said = json.loads(await beside.planes.toolgate("policy", "sidecars", "--tenant", "acme", "-o", "json"))
    (one,) = said["sidecars"]
    assert int(one["decisions"]) > 2
    assert int(one["denied"]) >= 1
    assert one["version"]
    for path, bearer, expected in (
        ("/opa/acme/bundle.tar.gz", "tgn_0_0", 401),
        ("/opa/acme/bundle.tar.gz", admin, 401),
        ("/opa/nobody/bundle.tar.gz", token, 404),
        ("/opa/acme/other", token, 404),
        ("/opa/acme/bundle.tar.gz", token, 200),
    ):
        assert (await asyncio.to_thread(asked, beside.planes, path, bearer))[0] == expected, path
    await _without_its_sidecar(beside)


async def _without_its_sidecar(beside: Beside) -> None:
    """Calls are refused, and with it again served."""
    assert beside.opa is not None
    beside.opa.stop()
    agent = beside.agent()
    refused = await agent.call("leaks_card")
    assert refused.status == 400

    async def told() -> bool:
        rows = await beside.planes.audit("acme", "--tool", "leaks_card")
        return bool(rows) and "policy_unavailable" in json.dumps(rows[0])

    await until(told, "the refusal recorded with its reason")
    await beside.planes.toolgate("key", "revoke", "--tenant", "acme", "--name", "helper-ada")

    async def stranger() -> bool:
        return (await agent.call("leaks_card")).status == 401

    await until(stranger, "a key is revoked while the sidecar is away")
    key = await beside.planes.key("acme", "another", user="ada", agent="helper")
    beside.key = key
    await asyncio.to_thread(beside.opa.start)
    again = beside.agent()

    async def served() -> bool:
        return (await again.call("leaks_card")).ok

    await until(served, "calls served again")
