"""What is recorded is kept, whatever is away; and where nothing more can be kept, who demands it is refused."""

from tests.behaviour.conftest import ACME, World, settle
from tests.harness.agent import Agent
from tests.harness.planes import Planes, until

REQUIRED = "{kind: Tenant, name: acme, spec: {audit: required, audit_arguments: keep}}"
BEST_EFFORT = "{kind: Tenant, name: umbrella, spec: {audit_arguments: keep}}"
LONG = "x" * 16_000
"""With such arguments in each record a spool of 4 MiB is full after some hundred calls."""


async def fill(agent: Agent) -> int:
    """Call until refused; how many calls were answered before."""
    for answered in range(2_000):
        reply = await agent.call("echo", text=LONG)
        if not reply.ok:
            assert reply.status == 503, reply.body
            assert int(reply.headers["retry-after"]) >= 1
            return answered
    raise AssertionError("the spool never was full")


async def rows(planes: Planes, tenant: str) -> int:
    return len(await planes.audit(tenant, "--tool", "echo", "--outcome", "ok", "--limit", "1000000"))


async def both(world: World) -> Agent:
    """An agent of a second tenant, which takes records as they come."""
    second = ACME.replace("tenant: acme", "tenant: umbrella").replace(
        "kind: Tenant\nname: acme", "kind: Tenant\nname: umbrella"
    )
    await world.planes.apply(second.replace("URL", world.upstream.url))
    await world.planes.apply(f"{REQUIRED}\n---\n{BEST_EFFORT}")
    agent = world.agent(await world.planes.key("umbrella", "helper-ada", user="ada", agent="helper"))

    async def served() -> bool:
        return (await agent.call("echo")).ok

    await until(served, "the second tenant served")
    return agent


async def test_a_full_spool_refuses_who_demands_a_record_and_loses_none_of_theirs(planes: Planes) -> None:
    async with settle(planes, TOOLGATE_SPOOL_MAX_MIB="4") as world:
        second = await both(world)
        agent = world.agent()
        world.planes.kill_control_plane()
        answered = await fill(agent)
        assert answered > 50
        for _ in range(300):
            assert (await agent.call("echo")).status == 503
            assert (await second.call("echo", text=LONG)).ok, "a tenant that does not demand it is served"

        async def told() -> bool:
            return "toolgate_spool_dropped_total 0.0" not in await world.node.metrics()

        await until(told, "the dropped records in the metrics, which the supervisor looks for ten times a second")
        world.planes.start_control_plane()
        await world.planes.control_plane_ready()

        async def served() -> bool:
            return (await agent.call("echo", text="again")).ok

        await until(served, "calls again")
        kept = await world.planes.audit("acme", "--tool", "echo", "--outcome", "ok", "--limit", "1000000")
        long = [row for row in kept if LONG in str(row["detail"])]

        async def all_there() -> bool:
            found = await world.planes.audit("acme", "--tool", "echo", "--outcome", "ok", "--limit", "1000000")
            long[:] = [row for row in found if LONG in str(row["detail"])]
            return len(long) >= answered

        await until(all_there, "a row for every answered call")
        assert len(long) == answered
        refused = await world.planes.audit("acme", "--outcome", "audit_unavailable", "--limit", "1000")
        assert refused, "some of the refusals have rows: they may use what is kept in reserve"
        assert "intact" in await world.planes.toolgate("audit", "verify", "--tenant", "acme")


async def test_an_outage_longer_than_memory_loses_no_record_across_a_restart_of_the_gateway(planes: Planes) -> None:
    async with settle(planes, TOOLGATE_SPOOL_MAX_MIB="64") as world:
        await both(world)
        agent = world.agent()
        world.planes.kill_control_plane()
        for _ in range(500):
            assert (await agent.call("echo", text=LONG)).ok
        world.node.kill()
        world.node.start()
        await world.node.ready()
        for _ in range(500):
            assert (await agent.call("echo", text=LONG)).ok
        world.planes.start_control_plane()
        await world.planes.control_plane_ready()

        async def all_there() -> bool:
            return await rows(world.planes, "acme") >= 1_000

        await until(all_there, "a row for every answered call")
        assert await rows(world.planes, "acme") == 1_000
        assert "intact" in await world.planes.toolgate("audit", "verify", "--tenant", "acme")
