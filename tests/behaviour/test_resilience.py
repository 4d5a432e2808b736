"""What dies, and what goes on: processes killed with SIGKILL while agents call."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.behaviour.conftest import World, settle
from tests.harness.agent import Agent
from tests.harness.planes import Planes, running, until
from tests.harness.postgres import kill, own_server
from tests.harness.redis import RedisServer


class Traffic:
    """Agents that call without pause until stopped."""

    def __init__(self) -> None:
        self.done = 0
        self.failures: list[str] = []
        self._stop = False
        self._reached: list[tuple[int, asyncio.Event]] = []

    async def run(self, agent: Agent, *, retry: bool) -> None:
        """`retry`: a connection lost is opened again and the call repeated, as clients do when a process dies."""
        while not self._stop:
            try:
                reply = await agent.call("echo", n=self.done)
            except (OSError, asyncio.IncompleteReadError) as failure:
                if not retry:
                    self.failures.append(repr(failure))
                continue
            if not reply.ok:
                self.failures.append(reply.body.decode())
            self.done += 1
            for wanted, event in self._reached:
                if self.done >= wanted:
                    event.set()

    async def more(self, calls: int) -> None:
        """Until so many more calls were answered."""
        event = asyncio.Event()
        self._reached.append((self.done + calls, event))
        async with asyncio.timeout(20):
            await event.wait()

    def stop(self) -> None:
        self._stop = True


@contextlib.asynccontextmanager
async def traffic(make: Callable[[], Agent], *, agents: int = 4, retry: bool = False) -> AsyncIterator[Traffic]:
    calls = Traffic()
    async with asyncio.TaskGroup() as group:
        for _ in range(agents):
            group.create_task(calls.run(make(), retry=retry))
        try:
            yield calls
        finally:
            calls.stop()


async def all_recorded(world: World, calls: int) -> None:
    """Until the audit log holds exactly the calls that were answered, and is intact."""

    async def there() -> bool:
        return world.hostile.calls.count("echo") == await audited(world.planes)

    assert world.hostile.calls.count("echo") >= calls
    await until(there, "every call's audit row")
    assert "intact" in await world.planes.toolgate("audit", "verify", "--tenant", "acme")


async def audited(planes: Planes) -> int:
    """Number of audit rows of calls of echo."""
    return len(await planes.audit("acme", "--tool", "echo", "--limit", "1000000"))


async def test_a_killed_control_plane_fails_no_call_and_loses_no_record(world: World) -> None:
    async with traffic(world.agent) as calls:
        await calls.more(50)
        world.planes.kill_control_plane()
        await calls.more(300)
        world.planes.start_control_plane()
        await world.planes.control_plane_ready()
        await calls.more(50)
    assert calls.failures == []
    await all_recorded(world, calls.done)


async def test_a_killed_postgresql_fails_no_call_and_loses_no_record(tmp_path: Path) -> None:
    async with (
        own_server() as postgres,
        running(tmp_path, postgres.dsn("postgres")) as planes,
        settle(planes) as world,
    ):
        async with traffic(world.agent) as calls:
            await calls.more(50)
            kill(postgres)
            await calls.more(300)
            await postgres.start()
            await calls.more(50)
        assert calls.failures == []
        await all_recorded(world, calls.done)


FLEET_LIMIT = """
kind: RateLimit
tenant: acme
name: shared
spec: {calls: 1000000, period_s: 1, per: [caller], scope: fleet, on_error: ON_ERROR}
"""


async def test_a_killed_redis_fails_no_call_of_a_limit_that_counts_locally(
    planes: Planes, redis_server: RedisServer
) -> None:
    async with settle(planes, TOOLGATE_REDIS_URL=redis_server.url) as world:
        await planes.apply(FLEET_LIMIT.replace("ON_ERROR", "local"))
        async with traffic(world.agent) as calls:
            await calls.more(100)
            redis_server.kill()
            await calls.more(300)
            await redis_server.restart()
            await calls.more(100)
        assert calls.failures == []
        await all_recorded(world, calls.done)


async def test_two_gateways_share_one_limit_through_redis(planes: Planes, redis_server: RedisServer) -> None:
    async with settle(planes, TOOLGATE_REDIS_URL=redis_server.url) as world:
        other = await planes.node("gw2", TOOLGATE_REDIS_URL=redis_server.url)
        await planes.apply(
            "{kind: RateLimit, tenant: acme, name: ten, spec: {calls: 10, period_s: 3600, per: [tenant]}}"
        )
        first, second = world.agent(), other.agent(world.key)
        world.agents.append(second)

        async def limited(agent: Agent) -> bool:
            return (await agent.call("echo")).status == 429

        await until(lambda: limited(first), "the limit on the first gateway")
        await until(lambda: limited(second), "the limit on the second gateway")
        # Whoever came first, the two admitted what one bucket holds, on top of what went before the limit was there.
        assert (await first.call("echo")).status == (await second.call("echo")).status == 429


async def test_a_restarted_gateway_serves_from_disk_while_the_control_plane_is_down(world: World) -> None:
    world.planes.kill_control_plane()
    world.node.stop()
    world.node.start()
    await world.node.ready()
    assert (await world.agent().call("echo")).ok


async def test_a_tampered_snapshot_is_not_served(world: World) -> None:
    world.planes.kill_control_plane()
    world.node.stop()
    for part in (world.node.data_dir / "parts").rglob("*"):
        if part.is_file():
            raw = bytearray(part.read_bytes())
            raw[len(raw) // 2] ^= 1
            part.write_bytes(raw)
    world.node.start()

    async def up() -> bool:
        with contextlib.suppress(OSError):
            return (await world.agent().request("tools/list", {})).status in (401, 503)
        return False

    await until(up, "a gateway that refuses")
    assert not await world.node.is_ready()


CLOCK = """
kind: Server
tenant: acme
name: clock
spec: {transport: {type: stdio, command: [mcp-server-time, --local-timezone, UTC]}}
---
{kind: Endpoint, tenant: acme, name: default, spec: {members: [{server: odd}, {server: clock}]}}
"""


async def test_a_killed_worker_is_replaced_and_its_children_and_records_survive(two_workers: World) -> None:
    world = two_workers
    assert world.node.child is not None
    await world.planes.apply(CLOCK)
    await world.listed("get_current_time")
    children = processes(world.node.child.pid, b"mcp-server-time")
    assert children
    async with traffic(world.agent, retry=True) as calls:
        await calls.more(50)
        victim = await worker_of(world.node.child.pid)
        os.kill(victim, signal.SIGKILL)
        await calls.more(200)

        async def replaced() -> bool:
            return len(workers(world.node.child.pid)) == 2 and victim not in workers(world.node.child.pid)

        await until(replaced, "another worker")
    assert calls.failures == []
    assert (await world.agent().call("get_current_time", timezone="UTC")).ok
    assert processes(world.node.child.pid, b"mcp-server-time") == children

    async def complete() -> bool:
        # A call cut off by the kill was carried out, and has no row to have: it was never answered.
        return calls.done <= await audited(world.planes) <= world.hostile.calls.count("echo")

    await until(complete, "a row for every answered call")


async def test_sigterm_under_load_answers_what_it_took_and_exits_0(world: World) -> None:
    assert world.node.child is not None
    pid = world.node.child.pid
    answered = 0
    cut: list[str] = []

    async def call_until_gone(agent: Agent) -> None:
        nonlocal answered
        while True:
            try:
                reply = await agent.call("echo")
            except OSError:
                return
            except asyncio.IncompleteReadError as failure:
                if failure.partial:
                    cut.append(repr(failure))
                return
            assert reply.ok
            answered += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(call_until_gone(world.agent()))
        await until(lambda: _is(answered > 50), "calls under way")
        os.kill(pid, signal.SIGTERM)
    assert cut == []
    await until(lambda: _is(world.node.child is not None and world.node.child.exit != ""), "the node's end")
    assert world.node.child.exit == "exit code 0"

    async def recorded() -> bool:
        return answered <= await audited(world.planes)

    await until(recorded, "every answered call's row")


async def test_a_policy_that_does_not_check_is_not_published_and_the_old_one_keeps_serving(world: World) -> None:
    from tests.harness.planes import CommandFailed

    bad = (
        '{kind: Policy, tenant: acme, name: broken, spec: {rego: "package toolgate.tenant.broken\\ndeny contains if"}}'
    )
    problem = ""
    try:
        await world.planes.apply(bad)
    except CommandFailed as failure:
        problem = failure.output
    status = await world.planes.status("acme", "Policy", "broken") if not problem else {}
    assert "rego" in problem + str(status)
    assert (await world.agent().call("echo")).ok


async def test_a_tenants_own_policy_takes_away(world: World) -> None:
    rego = 'package toolgate.tenant.nap\\ndeny contains \\"napping\\" if input.tool.name == \\"echo\\"'
    await world.planes.apply(f'{{kind: Policy, tenant: acme, name: nap, spec: {{rego: "{rego}"}}}}')
    agent = world.agent()

    async def refused() -> bool:
        return (await agent.call("echo")).status == 400

    await until(refused, "echo refused by the tenant's policy")


async def _is(value: bool) -> bool:
    return value


def workers(pid: int) -> list[int]:
    """Worker processes of a supervisor."""
    return processes(pid, b"worker_main")


def processes(pid: int, word: bytes) -> list[int]:
    """Descendants of a process with `word` in their command line."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            with contextlib.suppress(OSError):
                if word in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
            found += processes(int(child), word)
    return found


async def worker_of(pid: int) -> int:
    await until(lambda: _is(len(workers(pid)) == 2), "two workers")
    return workers(pid)[0]
