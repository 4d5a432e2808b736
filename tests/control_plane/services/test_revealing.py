"""What tokens stand for: told to owners of the tenant, with a row for every attempt."""

import pytest

from adapters.crypto.sealing import AesSivSealer
from control_plane.services.revealing import Revealing
from core.admin import Admin, Rejected, Why
from core.audit import Entry
from core.identity import AdminRole
from core.tokenise import Revealed, ValueTokens
from tests.control_plane.services.conftest import ROOT, Plane, admin_of

SIV = AesSivSealer()


async def token_of(plane: Plane, tenant: str, value: str) -> str:
    keys = await plane.vault.tenant_keys(tenant)
    assert keys is not None
    return ValueTokens(tenant, keys.data_key, SIV).token("card", value)


async def test_an_owner_is_told_and_it_is_on_record_without_values(plane: Plane) -> None:
    rows: list[tuple[Entry, str]] = []

    async def note(entry: Entry, tenant: str) -> None:
        rows.append((entry, tenant))

    token, other = await token_of(plane, "acme", "4111"), await token_of(plane, "umbrella", "4222")
    service = Revealing(plane.vault, SIV, note, clock=plane.clock)
    found = await service.reveal(admin_of("acme"), "acme", [token, other], "a chargeback")
    assert found == [(token, Revealed("card", "4111")), (other, None)]
    ((entry, tenant),) = rows
    assert (tenant, entry.outcome, entry.caller, entry.tool) == ("acme", "revealed", "acme/owner", "Tokens/revealed")
    assert entry.detail["reason"] == "a chargeback"
    assert (entry.detail["asked"], entry.detail["revealed"]) == (2, {"card": 1})
    assert "4111" not in str(entry)


@pytest.mark.parametrize("role", ["viewer", "editor"])
async def test_nobody_else_is_told_and_the_attempt_is_on_record(plane: Plane, role: AdminRole) -> None:
    rows: list[str] = []

    async def note(entry: Entry, _: str) -> None:
        rows.append(f"{entry.caller} {entry.outcome}")

    service = Revealing(plane.vault, SIV, note)
    token = await token_of(plane, "acme", "4111")
    for admin in (admin_of("acme", role), ROOT):
        with pytest.raises(Rejected) as refused:
            await service.reveal(admin, "acme", [token], "curious")
        assert refused.value.why is Why.DENIED
    with pytest.raises(Rejected) as refused:
        await service.reveal(admin_of("umbrella"), "acme", [token], "curious")
    assert refused.value.why is Why.NOT_FOUND
    assert rows == [f"acme/{role} refused", f"{ROOT.name} refused"]


async def test_what_cannot_be_recorded_is_not_told(plane: Plane) -> None:
    async def away(_: Entry, __: str) -> None:
        raise Rejected(Why.UNAVAILABLE, "no database")

    token = await token_of(plane, "acme", "4111")
    with pytest.raises(Rejected) as refused:
        await Revealing(plane.vault, SIV, away).reveal(admin_of("acme"), "acme", [token], "a chargeback")
    assert refused.value.why is Why.UNAVAILABLE


@pytest.mark.parametrize(
    ("tokens", "reason", "path"),
    [
        ([], "why", "tokens"),
        (["[token:card:x]"] * 101, "why", "tokens"),
        (["4111"], "why", "tokens[0]"),
        (["[token:card:x]"], " ", "reason"),
        (["[token:card:x]"], "x" * 1001, "reason"),
    ],
)
async def test_what_is_wrong_is_told_by_its_field(plane: Plane, tokens: list[str], reason: str, path: str) -> None:
    async def note(_: Entry, __: str) -> None:
        raise AssertionError("nothing was revealed")

    with pytest.raises(Rejected) as refused:
        await Revealing(plane.vault, SIV, note).reveal(Admin("o", "acme", "owner"), "acme", tokens, reason)
    assert path in [problem.path for problem in refused.value.problems]
