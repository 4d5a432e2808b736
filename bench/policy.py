"""Decisions a second, and what one costs: `python -m bench.policy`.

The shipped policy compiled to WASM, in process, as gateways ask it: anew for every decision, and from the decision
cache. Beside it a stock `opa run --server` behind a Unix socket with the same Rego and data in a signed bundle, asked
as gateways ask their sidecars. 50 roles of 20 permissions each, 400 inputs.
"""

import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from adapters.opa.sidecar import DEADLINE_S, OpaSidecars
from adapters.wasmtime.policy import WasmPolicyEngine
from control_plane.compiler.policy import policy_data
from control_plane.policies import platform_module
from core.call import Inbound
from core.identity import Caller, Condition, Permission, Role
from core.policy import FAILURES
from core.snapshot import CompiledTool, Identity, Principal
from data_plane.stages.policy import Authorizer
from tests.harness.sidecar import TENANT, sidecar

OPA = Path(__file__).parents[1] / ".tools/opa"
SECONDS = 3.0
AT_ONCE = 16
ROLES, TOOLS = 50, 400
NOW = 1_785_240_000.0


def roles() -> dict[str, Role]:
    def permissions(role: int) -> list[Permission]:
        named = [Permission(tools=[f"t{(role * 7 + n * 13) % TOOLS}"], max_risk="medium") for n in range(18)]
        clearance = Condition(attribute="user.clearance", op="gte", value=2)
        return [*named, Permission(tools=[f"x{role}_*"], when=[clearance]), Permission(effect="deny", tools=["t13"])]

    return {f"r{n}": Role(permissions=permissions(n)) for n in range(ROLES)}


def tool(n: int) -> CompiledTool:
    return CompiledTool(name=f"t{n}", server="s", upstream_name=f"t{n}", definition=b"{}", digest=b"")


def question(name: str) -> Inbound:
    return Inbound(
        id="1",
        tenant=None,
        endpoint="default",
        transport="streamable_http",
        era="modern",
        revision="2026-07-28",
        method="tools/call",
        credential=b"",
        name=name,
    )


def inputs() -> list[bytes]:
    shown = {"server": "s", "risk": "low", "labels": {}, "read_only": False}
    asked = {
        "user": {"groups": ["staff"], "attributes": {"clearance": 3, "region": "eu"}},
        "agent": None,
        "roles": [f"r{n}" for n in range(6)],
        "auth": {"method": "key"},
        "endpoint": "default",
        "action": "tools/call",
        "ctx": {},
    }
    return [
        json.dumps({**asked, "tool": {**shown, "name": f"t{n}", "upstream_name": f"t{n}"}}).encode()
        for n in range(TOOLS)
    ]


def told(what: str, seconds: list[float], cpu_s: float) -> None:
    ordered = sorted(seconds)
    p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    rate, cpu = len(ordered) / sum(ordered), cpu_s / len(ordered)
    print(
        f"{what:34} {rate:>9,.0f}/s   p50 {p50 * 1e6:7.1f} us   p99 {p99 * 1e6:7.1f} us   cpu {cpu * 1e6:7.1f} us",
        flush=True,
    )


def in_process() -> None:
    data = policy_data(roles())
    with WasmPolicyEngine() as engine:
        prepared = engine.prepare(platform_module(), data.data, data.canaries)
        spent, began, cpu = list[float](), time.perf_counter(), time.process_time()
        for raw in itertools.cycle(inputs()):
            start = time.perf_counter()
            prepared.decide(raw)
            spent.append(time.perf_counter() - start)
            if start - began > SECONDS:
                break
        told("WASM in process", spent, time.process_time() - cpu)
        people = {"ann": Principal(roles=tuple(f"r{n}" for n in range(6)), attributes={"clearance": 3})}
        authorizer = Authorizer(prepared, data, Identity(users=people, agents={}), b"d", 0)
        caller = Caller(
            tenant="acme",
            user="ann",
            agent="",
            credential="key:k",
            endpoints=frozenset(),
            expires_unix=float("inf"),
            policy_class=authorizer.policy_class("ann", ""),
        )
        asked = [(question(f"t{n}"), tool(n)) for n in range(TOOLS)]
        spent, began, cpu = [], time.perf_counter(), time.process_time()
        for inbound, target in itertools.cycle(asked):
            start = time.perf_counter()
            authorizer.decide(inbound, caller, target, NOW)
            spent.append(time.perf_counter() - start)
            if start - began > SECONDS:
                break
        told("the decision cache", spent[TOOLS:], time.process_time() - cpu)


async def beside() -> None:
    with tempfile.TemporaryDirectory() as folder, sidecar(Path(folder)) as (server, bundles):
        # What is late is counted, and not cut off: a gateway refuses it.
        sidecars = OpaSidecars(server.address, deadline_s=10.0)
        prepared = sidecars.attach(TENANT, bundles.put({}, policy_data(roles()).data), ())
        remote = prepared.remote
        assert remote is not None
        await remote.rehearse()
        spent, began, cpu = list[float](), time.perf_counter(), time.process_time()
        for raw in itertools.cycle(inputs()):
            start = time.perf_counter()
            decision = await remote.decide(raw)
            spent.append(time.perf_counter() - start)
            assert decision not in FAILURES, decision
            if start - began > SECONDS:
                break
        told("OPA beside it, one at a time", spent, time.process_time() - cpu)
        cpu, began, done, late = time.process_time(), time.perf_counter(), 0, 0

        async def ask(asked: Iterator[bytes]) -> None:
            nonlocal done, late
            for raw in asked:
                start = time.perf_counter()
                assert await remote.decide(raw) not in FAILURES
                late += time.perf_counter() - start > DEADLINE_S
                done += 1
                if time.perf_counter() - began > SECONDS:
                    return

        await asyncio.gather(*(ask(itertools.cycle(inputs())) for _ in range(AT_ONCE)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        rate = f"{done / seconds:>9,.0f}/s   cpu {cpu / done * 1e6:7.1f} us   {late} of {done} too late"
        print(f"{f'OPA beside it, {AT_ONCE} at once':34} {rate}")
        sidecars.close()
        await asyncio.sleep(0)


if __name__ == "__main__":
    in_process()
    if OPA.exists():
        asyncio.run(beside())
    else:
        sys.exit("no .tools/opa: run bash tests/setup.sh opa")
