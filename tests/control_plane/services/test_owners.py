"""What only owners say of a kind that others may apply too."""

import json

import pytest

from core.admin import Outcome, Rejected, Why
from tests.control_plane.services.conftest import Plane, admin_of
from tests.control_plane.services.test_resources import HTTP, paths


async def test_where_callers_tokens_go_is_for_owners_to_say(plane: Plane) -> None:
    editor = admin_of("acme", "editor")
    auth = {"type": "token_exchange", "token_endpoint": "https://as.example/token", "client_id": "toolgate"}
    spec = {"transport": {"type": "http", "url": "https://desk.example/mcp"}, "auth": auth}
    with pytest.raises(Rejected) as rejected:
        await plane.apply("Server", "desk", spec, admin=editor)
    assert paths(rejected) == ["spec.auth"]
    await plane.apply("Server", "desk", spec, admin=admin_of("acme"))
    assert (await plane.apply("Server", "desk", {**spec, "risk": "high"}, admin=editor)).outcome is Outcome.CHANGED
    for change in (
        {"auth": {**auth, "token_endpoint": "https://evil.example/token"}},
        {"transport": {"type": "http", "url": "https://evil.example/mcp"}},
    ):
        with pytest.raises(Rejected) as rejected:
            await plane.apply("Server", "desk", {**spec, **change}, admin=editor)
        assert paths(rejected) == ["spec.auth"]
    await plane.apply("Server", "desk", {"transport": spec["transport"]}, admin=editor)


NAMED: dict[str, dict[str, object]] = {
    "header": {"transport": {"type": "http", "url": "https://desk.example/mcp", "secret_headers": {"X-Key": "s"}}},
    "client": {
        "transport": {"type": "http", "url": "https://desk.example/mcp"},
        "auth": {
            "type": "client_credentials",
            "issuer": "https://desk.example",
            "client_id": "us",
            "client_secret": "s",
        },
    },
    "guard": {
        "action": "mask",
        "presidio": {"url": "https://desk.example/", "entities": {"PERSON": 0.5}, "secret_headers": {"X-Key": "s"}},
    },
}


@pytest.mark.parametrize("name", NAMED)
async def test_where_a_secrets_value_is_sent_is_for_owners_to_say(plane: Plane, name: str) -> None:
    editor, owner, spec = admin_of("acme", "editor"), admin_of("acme"), NAMED[name]
    kind = "Guard" if name == "guard" else "Server"
    for secret in ("s", "other"):
        await plane.apply("Secret", secret, {"value": "v"})
    with pytest.raises(Rejected, match="for owners to declare, and where its value is sent"):
        await plane.apply(kind, "desk", spec, admin=editor)
    await plane.apply(kind, "desk", spec, admin=owner)
    text = json.dumps(spec)
    for moved in (text.replace("desk.example", "evil.example"), text.replace('"s"', '"other"')):
        with pytest.raises(Rejected, match="where its value is sent"):
            await plane.apply(kind, "desk", json.loads(moved), admin=editor)
    kept = await plane.apply(kind, "desk", {**spec, "disabled": True}, admin=editor)
    assert kept.outcome is Outcome.CHANGED
    await plane.apply(kind, "desk", {"detectors": ["iban"]} if kind == "Guard" else HTTP, admin=editor)


async def test_who_a_provider_may_mean_is_for_owners_to_say(plane: Plane) -> None:
    editor = admin_of("acme", "editor")
    await plane.apply("User", "ada", {"email": "ada@acme.example"}, admin=admin_of("acme"))
    for name, spec in (("ada", {"email": "eve@acme.example"}), ("ada", {}), ("eve", {"email": "eve@acme.example"})):
        with pytest.raises(Rejected) as rejected:
            await plane.apply("User", name, spec, admin=editor)
        assert paths(rejected) == ["spec.email"]
    changed = await plane.apply("User", "ada", {"email": "ada@acme.example", "groups": ["pay"]}, admin=editor)
    assert changed.outcome is Outcome.CHANGED
    await plane.apply("User", "bob", {}, admin=editor)


async def test_where_the_login_to_a_store_is_sent_is_for_owners_to_say(plane: Plane) -> None:
    await plane.apply("Secret", "s", {"value": "v"})
    spec = {"url": "https://vault.example", "login": {"type": "token", "token": "s"}}
    with pytest.raises(Rejected) as rejected:
        await plane.apply("SecretStore", "vault", spec, admin=admin_of("acme", "editor"))
    assert rejected.value.why is Why.DENIED
    await plane.apply("SecretStore", "vault", spec, admin=admin_of("acme"))


async def test_which_tools_get_values_for_tokens_is_for_owners_to_say(plane: Plane) -> None:
    editor = admin_of("acme", "editor")
    spec: dict[str, object] = {"reveal": ["card"], "tools": ["pay_charge"]}
    with pytest.raises(Rejected) as rejected:
        await plane.apply("Guard", "payments", spec, admin=editor)
    assert paths(rejected) == ["spec.reveal"]
    await plane.apply("Guard", "payments", {**spec, "disabled": True}, admin=editor)
    await plane.apply("Guard", "payments", spec, admin=admin_of("acme"))
    for change in ({"tools": ["*"]}, {"reveal": ["@all"]}, {"endpoints": ["other"]}):
        with pytest.raises(Rejected):
            await plane.apply("Guard", "payments", {**spec, **change}, admin=editor)
    await plane.apply("Guard", "payments", {**spec, "detectors": ["iban"]}, admin=editor)
    await plane.apply("Guard", "payments", {"detectors": ["iban"]}, admin=editor)
    with pytest.raises(Rejected):
        await plane.apply("Guard", "payments", spec, admin=editor)
