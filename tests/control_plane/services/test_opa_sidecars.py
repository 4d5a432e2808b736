"""What OPA sidecars are given: made once, whoever asks; and what of their reports cannot be read."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from adapters.jose.es256 import Es256Signer
from adapters.postgres.opa import PostgresSidecars
from adapters.postgres.resources import PostgresStore
from control_plane.policies import sources
from control_plane.services.opa_sidecars import OpaSidecars, Ports
from core.admin import Rejected, Why
from core.fleet import Published
from core.node_token import NodeToken
from core.policy import RegoModules
from core.snapshot import Manifest, PartRef, PolicyData, SignedManifest
from tests.control_plane.services.conftest import Plane

PARTS = {
    b"m" * 32: msgspec.msgpack.encode(RegoModules(sources())),
    b"d" * 32: msgspec.msgpack.encode(PolicyData(data=b"{}", engine="sidecar")),
}
REFS = (PartRef("policy_data", "", b"d" * 32, 1), PartRef("policy_module", "", b"m" * 32, 1))


class InForce:
    """One set of rules for whoever it is; parts come once they are let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.asked = 0

    def published(self, tenant: str) -> Published | None:
        manifest = msgspec.msgpack.encode(Manifest(tenant=tenant, generation=1, parts=REFS))
        signed = SignedManifest(manifest=manifest, key_id="k", signature=b"")
        return Published(tenant=tenant, generation=1, signed=signed)

    async def next(self, tenant: str) -> None:
        await asyncio.Event().wait()

    async def parts(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        self.asked += 1
        await self.let_go.wait()
        return {digest: PARTS[digest] for digest in digests}


async def secret(tenant: str) -> bytes:
    return tenant.encode().ljust(32)


async def nobody(token: str) -> NodeToken:
    raise Rejected(Why.UNAUTHENTICATED, token)


def sidecars(plane: Plane, rules: InForce) -> OpaSidecars:
    book, store = PostgresSidecars(plane.database), PostgresStore(plane.database)
    return OpaSidecars(Ports(rules, rules.parts, secret, Es256Signer, nobody, book, store))


async def test_a_bundle_is_made_once_for_all_who_ask_and_not_ended_by_one_who_leaves(plane: Plane) -> None:
    rules = InForce()
    given = sidecars(plane, rules)
    asking = [asyncio.create_task(given.bundle("acme")) for _ in range(20)]
    other = asyncio.create_task(given.bundle("umbrella"))
    while rules.asked < 2:
        await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.gather(asking[0], return_exceptions=True)
    rules.let_go.set()
    made = await asyncio.gather(*asking[1:])
    assert len(set(map(id, made))) == 1
    assert rules.asked == 2
    assert (await other) != made[0]
    assert await given.bundle("acme") is made[0]
    assert given.bounds()["opa_bundles"].held == 2


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"labels": {"id": "\xff"}}', b'{"labels": ' * 100_000, b"", b"{}x"])
async def test_reports_that_cannot_be_read_are_refused(plane: Plane, body: bytes) -> None:
    given = sidecars(plane, InForce())
    for told in (given.status, given.decided):
        with pytest.raises(Rejected) as rejected:
            await told("acme", body)
        assert rejected.value.why is Why.INVALID
