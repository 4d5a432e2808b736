"""Limits as agents meet them: by address behind a proxy, over every method, told in standard headers."""

import asyncio

from tests.behaviour.conftest import World, settle
from tests.harness.agent import Agent
from tests.harness.planes import Planes, until

BY_ADDRESS = """
kind: RateLimit
tenant: acme
name: by-address
spec: {calls: 3, period_s: 3600, algorithm: window, per: [ip], scope: node, methods: ["tools/list"]}
"""


async def bad_credentials_are_limited_by_address_and_good_ones_pass(world: World) -> None:
    """An address that hammers with bad keys; who has a good one may be behind the same."""
    bad, good = world.agent("tgk_acme_aaaa_bbbb"), world.agent()

    async def lists(agent: Agent, client: str) -> int:
        return (await agent.request("tools/list", {}, {"X-Forwarded-For": client})).status

    assert [await lists(bad, "203.0.113.7") for _ in range(6)] == [401] * 4 + [429] * 2
    reply = await bad.request("tools/list", {}, {"X-Forwarded-For": "203.0.113.7"})
    assert reply.headers["ratelimit-policy"] == '"bad-credentials";q=4;w=60'
    assert 1 <= int(reply.headers["retry-after"]) <= 15
    assert [await lists(good, "203.0.113.7"), await lists(bad, "203.0.113.8")] == [200, 401]
    assert await lists(world.agent(""), "203.0.113.7") == 401, "without a credential nothing is tried"


async def test_an_address_behind_a_trusted_proxy_has_a_limit_of_its_own(planes: Planes) -> None:
    proxied = {"TOOLGATE_TRUSTED_PROXIES": "127.0.0.0/8", "TOOLGATE_BAD_CREDENTIALS_PER_MINUTE": "4"}
    async with settle(planes, **proxied) as world:
        await bad_credentials_are_limited_by_address_and_good_ones_pass(world)
        await planes.apply(BY_ADDRESS)
        agent = world.agent()

        async def lists(client: str) -> tuple[int, dict[str, str]]:
            reply = await agent.request("tools/list", {}, {"X-Forwarded-For": f"198.51.100.66, {client}"})
            return reply.status, reply.headers

        async def limited() -> bool:
            return (await lists("203.0.113.1"))[0] == 429

        await until(limited, "the limit")
        assert [(await lists("203.0.113.2"))[0] for _ in range(4)] == [200, 200, 200, 429]
        status, headers = await lists("203.0.113.2")
        assert status == 429
        assert headers["ratelimit-policy"] == '"by-address";q=3;w=3600'
        assert headers["ratelimit"] == f'"by-address";r=0;t={headers["retry-after"]}'
        assert 3000 < int(headers["retry-after"]) <= 3600
        # What the client says of itself before the proxy's word counts for nothing.
        reply = await agent.request("tools/list", {}, {"X-Forwarded-For": "198.51.100.9, 203.0.113.1"})
        assert reply.status == 429
        assert (await agent.call("echo")).ok, "the limit is for lists"
        rows = await planes.audit("acme", "--outcome", "rate_limited")

        async def recorded() -> bool:
            rows[:] = await planes.audit("acme", "--outcome", "rate_limited")
            return bool(rows)

        await until(recorded, "the refusal's row")
        assert {row["detail"]["client_address"] for row in rows} <= {"203.0.113.1", "203.0.113.2"}  # type: ignore[index]


AT_ONCE = """
kind: Server
tenant: acme
name: odd
spec: {timeout_s: 60, max_result_bytes: 1048576, transport: {type: http, url: "URL", allow_private: true}}
---
kind: ConcurrencyLimit
tenant: acme
name: one-at-once
spec:
  calls: 1
  queue: 1
  wait_s: 60
  tools: [never_answers, echo]
  classes: [{name: interactive}, {name: batch, tools: [never_answers]}]
"""


async def calls_take_turns_and_whoever_hangs_up_gives_its_own_back(world: World) -> None:
    await world.planes.apply(AT_ONCE.replace("URL", world.upstream.url))
    hanging, waiting, asking = world.agent(), world.agent(), world.agent()

    async def in_force() -> bool:
        reply = await asking.call("echo")
        assert reply.ok, reply.body
        return 'toolgate_turns_total{class="0",' in await world.node.metrics()

    async def queued() -> bool:
        return 'toolgate_held{process="supervisor",what="turns_waiting"} 1.0' in await world.node.metrics()

    await until(in_force, "the limit")
    before = world.hostile.calls.count("never_answers")
    runs = asyncio.ensure_future(hanging.call("never_answers"))

    async def runs_there() -> bool:
        return world.hostile.calls.count("never_answers") > before

    await until(runs_there, "a call that runs")
    batch = asyncio.ensure_future(waiting.call("never_answers"))
    await until(queued, "one that waits")
    # It is of the higher class: it takes the place of the one that waits, which is told so.
    interactive = asyncio.ensure_future(asking.call("echo"))
    displaced = await asyncio.wait_for(batch, 10)
    assert displaced.status == 429, (displaced.headers, displaced.body)
    assert int(displaced.headers["retry-after"]) >= 1
    assert not interactive.done()
    runs.cancel()
    await asyncio.gather(runs, return_exceptions=True)
    await hanging.close()
    assert (await asyncio.wait_for(interactive, 10)).ok


async def test_nobody_is_believed_who_is_not_named(planes: Planes) -> None:
    async with settle(planes, TOOLGATE_TRUSTED_PROXIES="10.0.0.0/8") as world:
        await planes.apply(BY_ADDRESS)
        agent = world.agent()
        calls = 0

        async def limited() -> bool:
            nonlocal calls
            calls += 1
            reply = await agent.request("tools/list", {}, {"X-Forwarded-For": f"203.0.113.{calls % 250}"})
            return reply.status == 429

        await until(limited, "one limit for all that a stranger says it is")
        await calls_take_turns_and_whoever_hangs_up_gives_its_own_back(world)
