"""The tenancy stage: what is not the caller's looks as if it were not there."""

import msgspec
import pytest

from core.call import Inbound
from core.errors import Reason, Refused, Unavailable
from core.identity import Caller
from core.resource import encode
from core.snapshot import Catalogue
from data_plane.stages.tenancy import admit
from tests.data_plane.stages.builders import caller, inbound, snapshot

ORIGIN = "https://chat.example.com"
OPEN = encode(Catalogue(endpoint="default", allowed_origins=(ORIGIN,), max_body_bytes=1024))
LIMITED = msgspec.structs.replace(caller(), endpoints=frozenset({"finance"}))


def asking(**changes: object) -> Inbound:
    return msgspec.structs.replace(inbound(), **changes)


def refusal(request: Inbound, who: Caller | None = None) -> Refused:
    with pytest.raises(Refused) as refused:
        admit(request, who or caller(), snapshot(catalogue=OPEN), lambda: 0.0)
    return refused.value


def test_another_tenants_endpoint_one_that_is_not_there_and_one_the_key_does_not_open_are_refused_alike() -> None:
    refusals = [refusal(asking(tenant="umbrella")), refusal(asking(endpoint="none")), refusal(asking(), LIMITED)]
    assert {(one.reason, one.public) for one in refusals} == {(Reason.NOT_FOUND, refusals[0].public)}
    assert len({one.detail for one in refusals}) == 3, "the record says which it was"


@pytest.mark.parametrize("tenant", ["acme", None])
def test_an_endpoint_of_the_callers_tenant_is_opened_also_where_the_path_names_no_tenant(tenant: str | None) -> None:
    rules = snapshot(catalogue=OPEN)
    assert admit(asking(tenant=tenant), caller(), rules, lambda: 0.0) is rules.endpoints["default"]


def test_a_page_of_another_origin_is_refused_and_those_listed_and_our_own_are_let_in() -> None:
    rules = snapshot(catalogue=OPEN)
    assert refusal(asking(origin="https://evil.example.com", host="gw.example.com")).reason is Reason.ORIGIN
    for origin in ("", ORIGIN, "https://gw.example.com"):
        assert admit(asking(origin=origin, host="gw.example.com"), caller(), rules, lambda: 0.0)


def test_a_body_over_the_endpoints_own_cap_is_refused_with_the_cap() -> None:
    assert "1024 bytes" in refusal(asking(size_bytes=1025)).public
    assert admit(asking(size_bytes=1024), caller(), snapshot(catalogue=OPEN), lambda: 0.0)


def test_rules_older_than_the_tenant_tolerates_serve_nobody() -> None:
    strict, patient = snapshot(manifest={"max_staleness_s": 60}), snapshot()
    with pytest.raises(Unavailable) as stale:
        admit(asking(), caller(), strict, lambda: 60.1)
    assert stale.value.reason is Reason.STALE
    assert admit(asking(), caller(), strict, lambda: 60.0)
    assert admit(asking(), caller(), patient, lambda: float("inf"))
