"""A policy on trial, through both planes: it is counted, and never heeded."""

import contextlib
import json

from tests.behaviour.conftest import World
from tests.harness.planes import CommandFailed, until

TRIAL = """
kind: PolicyTrial
tenant: acme
name: stricter
spec:
  roles:
    caller:
      permissions:
        - {tools: ["*"]}
        - {effect: deny, tools: ["echo"], when: [{attribute: user.name, op: eq, value: ada}]}
        - {tools: ["leaks_card"], obligations: {mask: [cards]}}
"""


async def differences(world: World) -> set[tuple[str, str, str, int]]:
    try:
        said = await world.planes.toolgate("policy", "differences", "--tenant", "acme", "-o", "json")
    except CommandFailed as failed:
        said = failed.output
    flips = json.loads(said)["flips"]
    return {(flip["name"], flip["before"], flip["after"], int(flip["calls"])) for flip in flips}


async def test_a_trial_is_counted_and_never_heeded(world: World) -> None:
    await world.planes.apply(TRIAL)
    agent = world.agent()

    async def tried() -> bool:
        assert (await agent.call("echo")).ok
        return 'toolgate_policy_shadow_total{change="allow>deny",tenant="acme"}' in await world.node.metrics()

    await until(tried, "the trial asked")
    for _ in range(2):
        assert (await agent.call("leaks_card")).ok
        assert (await agent.call("counts")).status == 400
        assert (await agent.call("drips_card")).ok

    async def told() -> bool:
        found = await differences(world)
        return {(name, before, after) for name, before, after, _ in found} == {
            ("echo", "allow", "deny"),
            ("leaks_card", "allow", "allow mask:cards"),
            ("counts", "deny", "allow"),
        } and {2} == {calls for name, _, _, calls in found if name != "echo"}

    await until(told, "the differences")
    rows = await world.planes.audit("acme", "--tool", "counts")
    assert {row["detail"]["shadow"] for row in rows} == {"allow"}
    assert {row["outcome"] for row in rows} == {"forbidden"}


async def test_a_trial_that_does_not_check_holds_nothing_back(world: World) -> None:
    wrong = TRIAL + '  policies: {bad: {rego: "package toolgate.tenant.bad\\n\\ndeny contains 1 if http.send({})"}}\n'
    with contextlib.suppress(CommandFailed):  # It tells of the trial that does not check.
        await world.planes.apply(wrong)

    async def said() -> bool:
        problems = (await world.planes.status("acme", "policytrial", "stricter")).get("problems") or []
        return any("http.send" in str(problem) for problem in problems)

    await until(said, "the problem told")
    role = "{kind: Role, tenant: acme, name: caller, spec: {permissions: [{tools: [echo]}]}}"
    with contextlib.suppress(CommandFailed):  # It tells of the trial that does not check.
        await world.planes.apply(role)

    async def published() -> bool:
        return await world.agent().tools() == ["echo"]

    await until(published, "the role published all the same")
