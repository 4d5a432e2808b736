"""Servers called with each caller's own identity: the token it came with, exchanged where the Server says."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.harness.agent import Reply
from tests.harness.issuer import Issuer, issuing
from tests.harness.planes import Node, Planes, until
from tests.harness.upstream_exchanging import Desk, desk

SECRET = "the desk's own client secret"
ACME = """
{kind: Tenant, name: acme, spec: {}}
---
{kind: User, tenant: acme, name: ada, spec: {groups: [staff]}}
---
{kind: User, tenant: acme, name: bob, spec: {groups: [staff]}}
---
{kind: Role, tenant: acme, name: caller, spec: {permissions: [{tools: ["*"]}]}}
---
{kind: RoleBinding, tenant: acme, name: callers, spec: {role: caller, subjects: [{kind: group, name: staff}]}}
---
{kind: IdentityProvider, tenant: acme, name: okta, spec: {issuer: ISSUER, allow_private: true}}
---
{kind: Secret, tenant: acme, name: desk, spec: {value: "the desk's own client secret"}}
---
kind: Server
tenant: acme
name: desk
spec:
  transport: {type: http, url: "URL/mcp", allow_private: true}
  auth: {type: token_exchange, token_endpoint: "URL/as/token", client_id: toolgate, client_secret: desk, looks: client}
---
{kind: Endpoint, tenant: acme, name: default, spec: {members: [{server: desk}]}}
"""


@dataclass
class World:
    planes: Planes
    node: Node
    issuer: Issuer
    desk: Desk
    key: str

    def token(self, user: str) -> str:
        return self.issuer.token(aud=f"http://127.0.0.1:{self.node.port}/acme/default/mcp", azp="helper", sub=user)

    async def call(self, credential: str) -> Reply:
        agent = self.node.agent(credential, "/acme/default/mcp")
        try:
            return await agent.call("whoami")
        finally:
            await agent.close()


@pytest.fixture
async def world(planes: Planes) -> AsyncIterator[World]:
    async with issuing() as issuer, desk(issuer, SECRET) as server:
        await planes.apply(ACME.replace("ISSUER", issuer.url).replace("URL", server.url.removesuffix("/mcp")))
        key = await planes.key("acme", "ada", user="ada")
        made = World(planes, await planes.node(workers=2), issuer, server, key)
        token = made.token("bob")

        async def well() -> bool:
            return (await made.call(token)).ok

        await until(well, "a call on bob's behalf")
        yield made


async def test_calls_are_made_with_each_callers_own_identity(world: World) -> None:
    ada, bob = world.token("ada"), world.token("bob")
    world.desk.exchanged.clear()
    for _ in range(6):  # Whichever worker a connection comes to.
        assert (await world.call(ada)).text == "ada"
        assert (await world.call(bob)).text == "bob"
    assert [one["subject_token"] for one in world.desk.exchanged] == [ada, bob], "once for each, on the whole node"
    assert world.desk.exchanged[0]["resource"] == world.desk.url
    assert not any(ada in one or bob in one for one in world.desk.presented), "it goes to the token endpoint alone"

    refused = await world.call(world.key)
    assert not refused.ok
    assert "access token" in refused.body.decode()

    world.desk.refuses = True
    refused_token = world.token("ada")
    assert b"gives none on this caller" in (await world.call(refused_token)).body

    async def recorded() -> bool:
        rows = await world.planes.audit("acme", "--type", "call")
        of_ada = {row["outcome"] for row in rows if str(row["caller"]).startswith("ada/")}
        return {"ok", "token_needed", "not_exchanged"} <= of_ada

    await until(recorded, "what became of the calls in the audit log")
    world.desk.refuses = False

    world.planes.kill_control_plane()
    new = world.token("ada")
    assert (await world.call(new)).text == "ada", "a new token is exchanged without the control plane"
    world.desk.down = True
    assert (await world.call(ada)).text == "ada", "who has a token goes on while the token endpoint is away"
    assert not (await world.call(world.token("bob"))).ok
    _nothing_leaked(world, ada, bob, new, refused_token)


def _nothing_leaked(world: World, *tokens: str) -> None:
    """Whatever a process wrote, there is no secret in it."""
    secrets = [SECRET, *tokens, *world.desk.given]
    assert len(secrets) >= 4
    written = [path for path in world.planes.folder.rglob("*") if path.is_file()]
    assert any(path.name == "control-plane.log" for path in written)
    for path in written:
        held = path.read_bytes()
        for one in secrets:
            assert one.encode() not in held, f"{path} holds a secret"
