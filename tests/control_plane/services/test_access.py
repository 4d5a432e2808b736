"""Administrators, their keys and the gateways' tokens."""

import asyncio

import pytest

from control_plane.services.access import CACHE_TTL_S
from core.admin import Admin, KnownKey, Rejected, Why
from core.audit import Wanted
from core.identity import ApiKey, key_hash
from core.node_token import NodeToken
from tests.control_plane.services.conftest import ROOT, Plane, admin_of


async def refused(plane: Plane, token: str) -> tuple[Why, str]:
    with pytest.raises(Rejected) as rejected:
        await plane.access.identify(token)
    return rejected.value.why, rejected.value.public


async def test_the_first_start_gives_one_owner_however_many_replicas_start(plane: Plane) -> None:
    fresh = Plane(plane.database, kek=plane.kek)
    assert await fresh.access.bootstrap() is None
    async with plane.database.connection() as conn:
        await conn.execute("DELETE FROM resources WHERE tenant = '' AND kind = 'ApiKey'")
    tokens = await asyncio.gather(*(plane.access.bootstrap() for _ in range(4)))
    (token,) = [one for one in tokens if one]
    assert await plane.access.identify(token) == Admin("bootstrap", None, "owner")


async def test_no_key_text_is_in_the_database(plane: Plane) -> None:
    token = await plane.keys.issue(ROOT, "acme", "ops", {"admin_role": "owner"})
    secret = token.rsplit("_", 1)[1]
    for table in await plane.column("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"):
        for row in await plane.column(f'SELECT t::text FROM "{table}" AS t'):
            assert secret not in str(row)


@pytest.mark.parametrize("tenant", ["", "acme"])
@pytest.mark.parametrize("role", ["viewer", "editor", "owner"])
async def test_an_admin_key_proves_its_tenant_and_role(plane: Plane, tenant: str, role: str) -> None:
    token = await plane.keys.issue(ROOT, tenant, "ops", {"admin_role": role})
    assert token.startswith(f"tgk_{tenant or '-'}_")
    name = f"{tenant}/ops" if tenant else "ops"
    assert await plane.access.identify(token) == Admin(name, tenant or None, role)  # type: ignore[arg-type]


async def test_everything_that_is_no_admin_key_is_refused_alike(plane: Plane) -> None:
    await plane.apply("User", "alice", {})
    good = await plane.keys.issue(ROOT, "acme", "ops", {"admin_role": "owner"})
    agents = await plane.keys.issue(ROOT, "acme", "mcp", {"user": "alice"})
    changed = good[:-1] + ("0" if good[-1] != "0" else "1")
    elsewhere = good.replace("_acme_", "_umbrella_")
    nowhere = good.replace("_acme_", "_nowhere_")
    platform = good.replace("_acme_", "_-_")
    strange = ["", "x", "tgk_acme_a", "tgk_acme_a_b_c", "tgk_\N{BULLET}_a_b", "tgk_acme_a_b\0", "tgk__a_b", "t" * 9999]
    answers = {await refused(plane, token) for token in (agents, changed, elsewhere, nowhere, platform, *strange)}
    assert answers == {(Why.UNAUTHENTICATED, "the admin token is not valid")}


async def test_a_revoked_key_ends_within_a_second(plane: Plane) -> None:
    token = await plane.keys.issue(ROOT, "acme", "ops", {"admin_role": "owner"})
    await plane.access.identify(token)
    await plane.keys.revoke(ROOT, "acme", "ops")
    plane.clock.now += CACHE_TTL_S + 0.01
    assert CACHE_TTL_S < 1
    assert (await refused(plane, token))[0] is Why.UNAUTHENTICATED


async def test_an_expired_key_is_refused(plane: Plane) -> None:
    spec = {"admin_role": "owner", "expires_at": "2027-01-15T08:00:10Z"}
    token = await plane.keys.issue(ROOT, "acme", "ops", spec)
    assert (await plane.access.identify(token)).tenant == "acme"
    plane.clock.now += 10
    assert (await refused(plane, token))[0] is Why.UNAUTHENTICATED


async def test_rotation_ends_the_old_key_and_begins_a_new_one(plane: Plane) -> None:
    old = await plane.keys.issue(ROOT, "acme", "ops", {"admin_role": "owner"})
    with pytest.raises(Rejected) as rejected:
        await plane.keys.issue(ROOT, "acme", "ops", {"admin_role": "owner"})
    assert rejected.value.why is Why.CONFLICT
    new = await plane.keys.issue(ROOT, "acme", "ops", {}, rotate=True)
    assert (await plane.access.identify(new)).role == "owner"
    assert (await refused(plane, old))[0] is Why.UNAUTHENTICATED


async def test_an_issued_key_is_a_resource_a_compiler_can_find(plane: Plane) -> None:
    await plane.apply("User", "alice", {})
    revision, _ = await plane.store.load("acme")
    token = await plane.keys.issue(ROOT, "acme", "laptop", {"user": "alice"})
    resource = await plane.get("ApiKey", "laptop")
    assert resource.spec == ApiKey(user="alice")
    assert (resource.status["issued"], resource.status["issued_at"]) == (True, "2027-01-15T08:00:00Z")
    assert resource.status["key_id"] == token.split("_")[2]
    keys = await plane.vault.tenant_keys("acme")
    assert keys is not None
    kept = await plane.credentials.key(key_hash(keys.pepper, token.encode()))
    assert kept == KnownKey("acme", "laptop", ApiKey(user="alice"))
    assert [change.ref for change in await plane.store.changes(revision, 10)] == [resource.ref]


async def test_a_key_that_is_only_declared_is_not_issued_yet(plane: Plane) -> None:
    await plane.apply("User", "alice", {})
    await plane.apply("ApiKey", "laptop", {"user": "alice"})
    assert (await plane.get("ApiKey", "laptop")).status == {"issued": False}
    await plane.keys.issue(ROOT, "acme", "laptop", {})
    assert (await plane.get("ApiKey", "laptop")).status["issued"] is True


async def test_a_key_for_what_does_not_exist_is_not_issued(plane: Plane) -> None:
    with pytest.raises(Rejected) as rejected:
        await plane.keys.issue(ROOT, "acme", "k", {"user": "nobody", "revoked": True})
    assert [p.path for p in rejected.value.problems] == ["spec.user", "spec.revoked"]
    with pytest.raises(Rejected) as empty:
        await plane.keys.issue(ROOT, "acme", "k", {})
    assert empty.value.why is Why.INVALID
    with pytest.raises(Rejected) as nowhere:
        await plane.keys.issue(ROOT, "nowhere", "k", {"admin_role": "owner"})
    assert nowhere.value.why is Why.NOT_FOUND


async def test_only_owners_issue_and_revoke(plane: Plane) -> None:
    await plane.keys.issue(ROOT, "acme", "k", {"admin_role": "viewer"})
    for role in ("viewer", "editor"):
        admin = admin_of("acme", role)  # type: ignore[arg-type]
        for attempt in (
            plane.keys.issue(admin, "acme", "mine", {"admin_role": "owner"}),
            plane.keys.revoke(admin, "acme", "k"),
        ):
            with pytest.raises(Rejected) as rejected:
                await attempt
            assert rejected.value.why is Why.DENIED
    with pytest.raises(Rejected) as platform:
        await plane.keys.issue(admin_of("acme"), "", "mine", {"admin_role": "owner"})
    assert platform.value.why is Why.DENIED


async def test_revoking_twice_is_one_change(plane: Plane) -> None:
    await plane.keys.issue(ROOT, "acme", "k", {"admin_role": "viewer"})
    await plane.keys.revoke(ROOT, "acme", "k")
    await plane.keys.revoke(ROOT, "acme", "k")
    assert (await plane.get("ApiKey", "k")).generation == 2
    with pytest.raises(Rejected) as rejected:
        await plane.keys.revoke(ROOT, "acme", "other")
    assert rejected.value.why is Why.NOT_FOUND


async def test_keys_of_a_tenant_made_again_are_not_good(plane: Plane) -> None:
    token = await plane.keys.issue(ROOT, "acme", "k", {"admin_role": "owner"})
    await plane.resources.delete(ROOT, "ApiKey", "acme", "k")
    await plane.resources.delete(ROOT, "Tenant", "", "acme")
    await plane.apply("Tenant", "acme", {})
    assert (await refused(plane, token))[0] is Why.UNAUTHENTICATED


async def test_node_tokens_are_made_replaced_and_revoked(plane: Plane) -> None:
    first = await plane.access.create_node_token(NodeToken(name="gw-1"), ROOT)
    assert (await plane.access.identify_node(first)).name == "gw-1"
    second = await plane.access.create_node_token(NodeToken(name="gw-1"), ROOT)
    assert (await plane.access.identify_node(second)).name == "gw-1"
    await plane.access.keep_node_token(NodeToken(name="gw-1"), second, ROOT)
    await plane.access.revoke_node_token("gw-1", ROOT)
    # Handed in again, as from a file at a start.
    await plane.access.keep_node_token(NodeToken(name="gw-1"), second, ROOT)
    for name in ("gw-1", "gw-2"):
        with pytest.raises(Rejected) as rejected:
            await plane.access.revoke_node_token(name, ROOT)
        assert rejected.value.why is Why.NOT_FOUND
    rows = (await plane.audit.list(ROOT, "", Wanted(tool="NodeToken/gw-1"))).rows
    assert [(row.outcome, row.caller) for row in rows] == [
        (done, ROOT.name) for done in ("revoked", "issued", "issued")
    ]
    for token in (first, second, "", "tgn_a_b", "tgk_-_a_b"):
        with pytest.raises(Rejected) as rejected:
            await plane.access.identify_node(token)
        assert rejected.value.why is Why.UNAUTHENTICATED


async def test_an_admin_key_is_no_node_token_and_the_other_way_round(plane: Plane) -> None:
    node = await plane.access.create_node_token(NodeToken(name="gw-1"), ROOT)
    assert (await refused(plane, node))[0] is Why.UNAUTHENTICATED
    admin = await plane.keys.issue(ROOT, "", "ops", {"admin_role": "owner"})
    with pytest.raises(Rejected):
        await plane.access.identify_node(admin)
