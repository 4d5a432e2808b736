"""What the policy asks for besides, through both planes."""

from tests.behaviour.conftest import World
from tests.harness.planes import until

ROLE = """
kind: Guard
tenant: acme
name: mails
spec: {detectors: [email], action: mask, tools: []}
---
kind: RateLimit
tenant: acme
name: twice
spec: {calls: 2, period_s: 3600, per: [caller], scope: node, tools: []}
---
kind: Role
tenant: acme
name: caller
spec:
  permissions: [PERMISSIONS]
"""


async def given(world: World, permissions: str) -> None:
    await world.planes.apply(ROLE.replace("PERMISSIONS", permissions))


async def test_a_guard_that_only_the_policy_asks_for_masks_both_ways(world: World) -> None:
    agent = world.agent()
    assert "ann@example.com" in (await agent.call("echo", to="ann@example.com")).text
    await given(world, "{tools: [echo], obligations: {mask: [mails]}}")

    async def masked() -> bool:
        return "[masked:email]" in (await agent.call("echo", to="ann@example.com")).text

    await until(masked, "the mail masked")
    assert b"ann@example.com" not in world.upstream.messages("tools/call")[-1].body


async def test_a_limit_that_only_the_policy_asks_for_counts_the_calls_it_is_asked_of(world: World) -> None:
    await given(world, "{tools: [echo], obligations: {rate: [twice]}}, {tools: [leaks_card]}")
    agent = world.agent()

    async def limited() -> bool:
        return (await agent.call("echo")).status == 429

    await until(limited, "echo limited")
    assert all([(await agent.call("leaks_card")).ok for _ in range(5)])


async def test_a_key_cannot_step_up_and_is_told_how_to_sign_in(world: World) -> None:
    await given(world, '{tools: [echo], obligations: {step_up: ["urn:mfa"]}}')
    agent = world.agent()

    async def asked() -> bool:
        return (await agent.call("echo")).status == 401

    await until(asked, "the sign-in asked for")
    reply = await agent.call("echo")
    assert reply.headers["www-authenticate"].endswith('error="insufficient_user_authentication", acr_values="urn:mfa"')
    assert reply.message["error"]["data"] == {"acr_values": ["urn:mfa"], "reason": "step_up"}  # type: ignore[index]
    calls = len(world.upstream.messages("tools/call"))
    await agent.call("echo")
    assert len(world.upstream.messages("tools/call")) == calls


async def test_an_argument_a_role_names_decides(world: World) -> None:
    await given(world, "{tools: [echo], when: [{attribute: arg.amount, op: lte, value: 100}]}")
    agent = world.agent()

    async def refused() -> bool:
        return (await agent.call("echo", amount=101)).status == 400

    await until(refused, "the large amount refused")
    assert (await agent.call("echo", amount=100)).ok
    assert (await agent.call("echo", amount="1")).status == 400
    assert "echo" in await agent.tools()
    reply = await agent.post(
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"amount":1,"amount":999},'
        b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
        b'"io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}}}}',
        {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "echo"},
    )
    assert "name a member twice" in reply.message["error"]["message"]  # type: ignore[index]
