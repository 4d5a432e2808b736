"""What only an engine beside this process has to keep: it may be away, late, old, or somebody else's."""

import asyncio
import json
import signal
import time

import pytest
import pytest_asyncio

from adapters.jose.es256 import Es256Signer
from adapters.opa import sidecar as adapter
from adapters.opa.sidecar import OpaSidecars
from control_plane.policies import sources
from control_plane.services.opa_bundle import bundle
from core.policy import ERROR, STALE, UNAVAILABLE, Canary, Decision, RegoModules, Revision
from core.resource import digest
from core.snapshot import PolicyData
from tests.contract.test_policy_engine import EVERYTHING, NOTHING, Clock, asked
from tests.harness.planes import until
from tests.harness.sidecar import TENANT, sidecar

PATIENT_S = 5.0
"""Other tests may be running."""
OURS = RegoModules(sources())
ALLOWED = Decision(True, ("role:r",))


@pytest.fixture(scope="module")
def an_opa(tmp_path_factory):
    with sidecar(tmp_path_factory.mktemp("opa")) as both:
        yield both


@pytest_asyncio.fixture
async def asking(an_opa):
    """(sidecars, bundles, server), the server running."""
    server, bundles = an_opa
    clock = Clock()
    sidecars = OpaSidecars(server.address, clock=clock, deadline_s=PATIENT_S, rehearsal_s=PATIENT_S)
    yield sidecars, bundles, server, clock
    await closed(sidecars)


@pytest_asyncio.fixture
async def impatient(an_opa):
    """Sidecars that wait for new rules only for a moment."""
    sidecars = OpaSidecars(an_opa[0].address, deadline_s=PATIENT_S, rehearsal_s=0.3)
    yield sidecars
    await closed(sidecars)


async def closed(sidecars):
    sidecars.close()
    await asyncio.sleep(0)  # Connections end a turn of the loop later.


async def active(sidecars, revision, canaries=()):
    policy = sidecars.attach(TENANT, revision, canaries).remote
    await policy.rehearse()
    return policy


async def test_without_a_sidecar_configured_the_tenant_is_refused_by_name():
    with pytest.raises(ValueError, match="opa_sidecar"):
        OpaSidecars("").attach(TENANT, Revision(1, b"x"), ())


async def test_what_is_asked_here_and_now_is_refused(asking):
    sidecars, *_ = asking
    policy = sidecars.attach(TENANT, Revision(1, b"x"), ())
    assert policy.decide(asked()) == UNAVAILABLE
    assert policy.visible(asked(tools=["a"])) is None


async def test_nobody_at_the_other_end_is_a_refusal_and_keeps_no_snapshot_waiting(tmp_path):
    sidecars = OpaSidecars(f"unix://{tmp_path}/{{tenant}}.sock", rehearsal_s=60.0)
    policy = sidecars.attach(TENANT, Revision(1, b"x"), ()).remote
    await policy.rehearse()
    assert await policy.decide(asked()) == UNAVAILABLE
    assert await policy.visible(asked(tools=["a"])) is None


async def test_one_that_hangs_is_a_refusal_within_the_deadline_and_then_at_once_for_a_while(asking):
    _, bundles, server, clock = asking
    revision, late = bundles.put({}, EVERYTHING), 0.1
    hasty = OpaSidecars(server.address, clock=clock, deadline_s=late)
    await active(asking[0], revision)
    policy = hasty.attach(TENANT, revision, ()).remote
    server.signal(signal.SIGSTOP)
    try:
        began = time.perf_counter()
        for _ in range(adapter.FAILURES_TOLERATED):
            assert await policy.decide(asked()) == UNAVAILABLE
        waited = time.perf_counter() - began
        assert adapter.FAILURES_TOLERATED * late <= waited < PATIENT_S
        began = time.perf_counter()
        assert await policy.decide(asked()) == UNAVAILABLE
        assert time.perf_counter() - began < late, "it is left alone"
    finally:
        server.signal(signal.SIGCONT)

    async def decides():
        clock.now += adapter.REST_S
        return await policy.decide(asked()) == ALLOWED

    await until(decides, "it decides again", limit_s=PATIENT_S)
    await closed(hasty)


async def test_one_that_was_started_again_decides_again(asking):
    sidecars, bundles, server, _ = asking
    policy = await active(sidecars, bundles.put({}, EVERYTHING))
    server.stop()
    assert await policy.decide(asked()) == UNAVAILABLE
    server.start()

    async def decides():
        return await policy.decide(asked()) == ALLOWED

    await until(decides, "the sidecar decides again", limit_s=PATIENT_S)


async def test_older_rules_than_the_snapshots_are_a_refusal_and_newer_ones_are_not(asking, impatient):
    sidecars, bundles, *_ = asking
    before = await active(sidecars, bundles.put({}, EVERYTHING))
    after = await active(sidecars, bundles.put({}, NOTHING))
    assert await after.decide(asked()) == Decision(False, ("no_role",))
    assert await before.decide(asked()) == Decision(False, ("no_role",)), "the newest rules count"
    old = Revision(bundles.generation + 1, b"of a snapshot yet to come")
    waiting = impatient.attach(TENANT, old, ()).remote
    await waiting.rehearse()
    assert await waiting.decide(asked()) == STALE
    assert await waiting.visible(asked(tools=["a"])) is None


async def test_canaries_are_run_before_the_first_decision_where_the_rules_come_late(asking, impatient):
    sidecars, bundles, *_ = asking
    await active(sidecars, bundles.put({}, NOTHING))
    right, wrong = Canary(asked(), True), Canary(asked(), False, "own/nobody")
    coming = Revision(bundles.generation + 1, digest(repr(({}, EVERYTHING)).encode())[:16])
    good, bad = (impatient.attach(TENANT, coming, (canary,)).remote for canary in (right, wrong))
    await good.rehearse()
    assert await good.decide(asked()) == STALE
    assert bundles.put({}, EVERYTHING) == coming

    async def decides():
        return await good.decide(asked()) == ALLOWED

    await until(decides, "the rules arrived", limit_s=PATIENT_S)
    assert await bad.decide(asked()) == ERROR
    assert await good.decide(asked()) == ERROR, "rules that are wrong here decide for nobody"
    after = await active(impatient, bundles.put({}, EVERYTHING + b" "))
    assert await after.decide(asked()) == ALLOWED


async def test_another_tenants_sidecar_is_not_believed(asking):
    sidecars, bundles, *_ = asking
    revision = bundles.put({}, EVERYTHING)
    await active(sidecars, revision)
    assert await sidecars.attach("globex", revision, ()).remote.decide(asked()) == UNAVAILABLE


@pytest.mark.parametrize(
    ("tenant", "secret"), [(TENANT, b"x" * 32), ("globex", b"s" * 32)], ids=["another key", "another tenant"]
)
async def test_a_bundle_signed_by_or_for_somebody_else_is_not_taken(asking, impatient, tenant, secret):
    sidecars, bundles, *_ = asking
    await active(sidecars, bundles.put({}, NOTHING))
    false = Revision(bundles.generation + 1, b"false")
    bundles.serve(bundle(tenant, false, OURS, PolicyData(data=EVERYTHING), Es256Signer(secret)))
    policy = impatient.attach(TENANT, false, ()).remote
    await policy.rehearse()
    assert await policy.decide(asked()) == STALE


async def test_data_of_any_text_is_signed_as_opa_hashes_it(asking):
    sidecars, bundles, *_ = asking
    said = '<&>\u2028\u2029\b\f\n\r\t\x00\x1f\x7f"\\/é😀'
    data = {**json.loads(EVERYTHING), "n": 12345678901234567890123, "said": said, said: [None, True, -0, [], {}]}
    policy = await active(sidecars, bundles.put({}, json.dumps(data).encode()))
    assert await policy.decide(asked()) == ALLOWED


async def test_many_are_decided_at_once_and_rules_are_swapped_without_a_gap(asking):
    sidecars, bundles, *_ = asking
    policy = await active(sidecars, bundles.put({}, EVERYTHING))
    done = asyncio.Event()
    decisions = []

    async def ask():
        while not done.is_set():
            decisions.append(await policy.decide(asked()))

    async with asyncio.TaskGroup() as callers:
        for _ in range(8):
            callers.create_task(ask())
        for n in range(3):
            await active(sidecars, bundles.put({}, EVERYTHING + b" " * (n + 1)), (Canary(asked(), True),))
        done.set()
    assert len(decisions) > 100
    assert set(decisions) == {ALLOWED}
