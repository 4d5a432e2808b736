"""What a stranger learns: nothing, whichever tenant a made-up key names."""

import pytest

from core.errors import Reason, Refused, Unavailable
from data_plane.snapshots import TenantSnapshot
from data_plane.stages import authn
from data_plane.tenants import Pointer, Tenants
from tests.data_plane.stages.builders import inbound, snapshot


async def load(tenant: str, _: Pointer) -> TenantSnapshot:
    if tenant == "broken":
        raise Unavailable(Reason.NO_SNAPSHOT, "The gateway cannot serve this now.", detail="a part is damaged")
    return snapshot()


async def refusal(tenants: Tenants, credential: bytes) -> Refused:
    call = inbound()
    call.credential = credential
    with pytest.raises(Refused) as caught:
        authn.identify(call, await authn.claimed(call, tenants), 0.0)
    return caught.value


async def test_a_tenant_that_is_there_one_that_is_not_and_one_that_cannot_be_loaded_look_alike() -> None:
    tenants = Tenants(load, 8)
    for name in ("acme", "broken"):
        tenants.point(name, Pointer(1, b"x"))
    keys = (b"tgk_acme_aaaa_bbbb", b"tgk_broken_aaaa_bbbb", b"tgk_nobody_aaaa_bbbb", b"no key", b"")
    refusals = [await refusal(tenants, key) for key in keys]
    assert {(one.reason, one.public, one.retry_after_s, one.data) for one in refusals} == {
        (Reason.UNAUTHENTICATED, "The credential is missing or not valid.", None, b"")
    }
    assert refusals[1].detail == "no_snapshot: a part is damaged"
