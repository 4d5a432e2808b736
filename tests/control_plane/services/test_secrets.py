"""Secret values: sealed on arrival, shown to nobody, moved to a new key-encryption key without a pause."""

import logging
import os

import pytest

from adapters.crypto.sealing import AesGcmSealer
from adapters.postgres.secrets import PostgresSealedValues
from control_plane.services.resources import Resources
from control_plane.services.secrets import KeyRing, Vault, key_id
from core.admin import Draft, Outcome, Rejected, Why
from core.resource import Ref
from core.sealing import SealBroken
from core.secret import Secret
from tests.control_plane.services.conftest import ROOT, Plane

VALUE = "correct-horse-battery-staple"


async def dump(plane: Plane) -> str:
    """The whole database as text."""
    tables = await plane.column("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
    rows = [row for table in tables for row in await plane.column(f'SELECT t::text FROM "{table}" AS t')]
    return "\n".join(map(str, rows))


async def opened(plane: Plane, vault: Vault, tenant: str) -> dict[str, str]:
    """Every secret of a tenant by name, as its snapshot gets them."""
    stored = await PostgresSealedValues(plane.database).of(tenant, "Secret")
    return {ref.name: vault.open(ref, value).decode() for ref, value in stored.items()}


async def test_a_value_is_never_in_the_database_the_answers_or_the_log(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    applied = await plane.apply("Secret", "token", {"value": VALUE, "description": "of the shop"})
    assert applied.resource.spec == Secret(description="of the shop")
    assert (await plane.get("Secret", "token")).spec == Secret(description="of the shop")
    listed = await plane.resources.list(ROOT, "Secret", "acme")
    assert [one.spec for one in listed.resources] == [Secret(description="of the shop")]
    text = await dump(plane)
    assert VALUE not in text
    assert VALUE.encode().hex() not in text
    assert VALUE not in caplog.text
    assert await opened(plane, plane.vault, "acme") == {"token": VALUE}


async def test_a_refused_value_is_not_in_the_refusal(plane: Plane) -> None:
    with pytest.raises(Rejected) as rejected:
        await plane.apply("Secret", "token", {"value": VALUE, "colour": 1}, labels={"!": VALUE})
    assert VALUE not in str(rejected.value)
    with pytest.raises(Rejected) as number:
        await plane.apply("Secret", "pin", {"value": 424242})
    assert "424242" not in str(number.value)


async def test_leaving_the_value_out_keeps_it(plane: Plane) -> None:
    await plane.apply("Secret", "token", {"value": VALUE})
    changed = await plane.apply("Secret", "token", {"description": "more"})
    assert changed.outcome is Outcome.CHANGED
    assert await opened(plane, plane.vault, "acme") == {"token": VALUE}


async def test_the_same_value_is_unchanged_and_another_is_not(plane: Plane) -> None:
    await plane.apply("Secret", "token", {"value": VALUE})
    assert (await plane.apply("Secret", "token", {"value": VALUE})).outcome is Outcome.UNCHANGED
    changed = await plane.apply("Secret", "token", {"value": "another"})
    assert (changed.outcome, changed.resource.generation) == (Outcome.CHANGED, 2)
    assert await opened(plane, plane.vault, "acme") == {"token": "another"}


async def test_a_new_secret_needs_a_value(plane: Plane) -> None:
    with pytest.raises(Rejected) as rejected:
        await plane.apply("Secret", "token", {})
    assert [(p.path, p.rule) for p in rejected.value.problems] == [
        ("spec.value", "is required when the Secret is created")
    ]


async def test_a_deleted_secrets_value_is_gone(plane: Plane) -> None:
    await plane.apply("Secret", "token", {"value": VALUE})
    await plane.resources.delete(ROOT, "Secret", "acme", "token")
    assert await opened(plane, plane.vault, "acme") == {}
    with pytest.raises(Rejected):
        await plane.apply("Secret", "token", {})


async def test_a_value_moved_to_another_row_does_not_open(plane: Plane) -> None:
    await plane.apply("Secret", "token", {"value": VALUE})
    async with plane.database.connection() as conn:
        await conn.execute("UPDATE sealed_values SET tenant = 'umbrella' WHERE kind = 'Secret'")
    with pytest.raises(SealBroken):
        await opened(plane, plane.vault, "umbrella")


async def test_rotation_reseals_everything_and_the_old_key_can_be_dropped(plane: Plane) -> None:
    await plane.apply("Secret", "token", {"value": VALUE})
    before = await plane.vault.tenant_keys("acme")
    new = os.urandom(32)
    both = plane.vault_with(KeyRing(new, [plane.kek]))
    assert await opened(plane, both, "acme") == {"token": VALUE}
    assert await both.rotate() == 4  # The platform's keys, two tenants' and the secret.
    assert await both.rotate() == 0
    only_new = plane.vault_with(KeyRing(new))
    assert await opened(plane, only_new, "acme") == {"token": VALUE}
    assert await only_new.tenant_keys("acme") == before
    assert set(await plane.column("SELECT key_id FROM sealed_values")) == {key_id(new)}


async def test_a_missing_key_encryption_key_is_named(plane: Plane) -> None:
    await plane.apply("Secret", "token", {"value": VALUE})
    stranger = plane.vault_with(KeyRing(os.urandom(32)))
    with pytest.raises(Rejected, match=key_id(plane.kek)) as rejected:
        await opened(plane, stranger, "acme")
    assert rejected.value.why is Why.UNAVAILABLE


async def test_each_tenant_has_keys_of_its_own(plane: Plane) -> None:
    found = [await plane.vault.tenant_keys(tenant) for tenant in ("", "acme", "umbrella")]
    every = [key for keys in found if keys is not None for key in keys]
    assert len(set(every)) == 9
    assert {len(key) for key in every} == {32}
    assert await plane.vault.tenant_keys("nowhere") is None


async def test_a_secret_applied_under_a_rotated_key_still_compares(plane: Plane) -> None:
    await plane.apply("Secret", "token", {"value": VALUE})
    vault: Vault = plane.vault_with(KeyRing(os.urandom(32), [plane.kek]))
    resources = Resources(plane.store, vault, clock=plane.clock)
    again = await resources.apply(ROOT, Draft(kind="Secret", tenant="acme", name="token", spec={"value": VALUE}))
    assert again.outcome is Outcome.UNCHANGED


def test_what_is_sealed_for_one_resource_does_not_open_for_another() -> None:
    ring = KeyRing(os.urandom(32))
    vault = Vault(AesGcmSealer(), ring, None)  # type: ignore[arg-type]
    sealed = vault.seal(Ref("Secret", "acme", "a"), b"x")
    assert vault.open(Ref("Secret", "acme", "a"), sealed) == b"x"
    for other in (Ref("Secret", "acme", "b"), Ref("Secret", "umbrella", "a"), Ref("Tenant", "acme", "a")):
        with pytest.raises(SealBroken):
            vault.open(other, sealed)
