"""What is asked for a token on a caller's behalf, and which answers are believed."""

import msgspec
import pytest

from core import exchange
from core.exchange import Wanted
from core.oauth_client import NotBelieved, TokenAnswer
from core.onbehalf import IdJag, TokenExchange
from core.server import Server

URL = "https://mcp.example/mcp"
SOUND: dict[str, object] = {"token_endpoint": "https://as.example/token", "client_id": "toolgate", "client_secret": "s"}
JAG: dict[str, object] = {
    "issuer": "https://as.example",
    "client_id": "c",
    "client_secret": "s",
    "idp_issuer": "https://idp.example",
    "idp_client_id": "i",
    "idp_client_secret": "t",
}
ENTRA: dict[str, object] = {"dialect": "entra", "scopes": ["a"]}
ENDS = {"idp_token_endpoint": "https://idp.example/token", "token_endpoint": "https://as.example/token"}


def auth(**more: object) -> TokenExchange:
    return msgspec.convert({**SOUND, **more}, TokenExchange)


def wanted(of: TokenExchange | IdJag, **more: str) -> Wanted:
    values = {"s": "secret", "t": "other"}
    return Wanted(
        tenant="acme",
        server="bank",
        made_for="m",
        url=URL,
        auth=of,
        private=False,
        ca_pem="",
        values=values,
        subject="caller's",
        **more,
    )


def rules(declared: dict[str, object]) -> set[str]:
    made = msgspec.convert({"transport": {"type": "http", "url": URL}, "auth": declared}, Server)
    return {problem.path for problem in made.problems()}


def test_the_callers_token_is_the_subject_and_the_servers_url_the_resource() -> None:
    asked = exchange.first(wanted(auth(scopes=["a", "b"])))
    assert asked.place.server.token_endpoint == "https://as.example/token"
    assert {name: text for name, text in asked.params.items() if text} == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "caller's",
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "scope": "a b",
        "resource": URL,
    }
    assert (asked.client.secret, asked.client.method) == ("secret", "client_secret_basic")
    assert exchange.second(wanted(auth()), TokenAnswer("t", "Bearer")) is None


def test_an_audience_is_asked_for_instead_of_a_resource_and_an_actors_token_goes_along() -> None:
    params = exchange.first(wanted(auth(audience="bank", actor_token="a"), actor="agent's")).params
    assert (params["audience"], params["resource"]) == ("bank", "")
    assert (params["actor_token"], params["actor_token_type"]) == (
        "agent's",
        "urn:ietf:params:oauth:token-type:jwt",
    )


def test_an_agent_acts_with_its_own_token_where_it_has_one() -> None:
    made = auth(actor_token="everybodys", actors={"helper": "helpers"})
    assert exchange.actor_secret(made, "helper") == "helpers"
    assert exchange.actor_secret(made, "other") == exchange.actor_secret(made, "") == "everybodys"


def test_entra_is_asked_in_the_words_it_knows() -> None:
    params = exchange.first(wanted(auth(dialect="entra", scopes=["api://bank/.default"]))).params
    assert params == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": "caller's",
        "requested_token_use": "on_behalf_of",
        "scope": "api://bank/.default",
    }


def test_an_identity_a_provider_vouches_for_takes_two_steps_and_the_callers_token_only_the_first() -> None:
    of = wanted(msgspec.convert({**JAG, **ENDS, "subject": "caller"}, IdJag))
    one = exchange.first(of)
    assert one.place.server.token_endpoint == "https://idp.example/token"
    assert (one.params["subject_token"], one.params["audience"]) == ("caller's", "https://as.example")
    grant = TokenAnswer("grant", "N_A", issued_token_type="urn:ietf:params:oauth:token-type:id-jag")
    two = exchange.second(of, grant)
    assert two is not None
    assert two.place.server.token_endpoint == "https://as.example/token"
    assert two.params["assertion"] == "grant"
    assert "caller's" not in two.params.values()
    with pytest.raises(NotBelieved, match="another type"):
        exchange.second(of, TokenAnswer("grant", "Bearer"))


@pytest.mark.parametrize("same", ["caller's", "agent's"])
def test_a_token_that_was_sent_is_not_taken_back(same: str) -> None:
    with pytest.raises(NotBelieved, match="the very token"):
        exchange.read(wanted(auth(), actor="agent's"), TokenAnswer(same, "Bearer", 60.0), 0.0)


def test_the_next_token_is_had_a_minute_before_the_end_or_a_fifth_of_a_short_life() -> None:
    long = exchange.read(wanted(auth()), TokenAnswer("t", "bearer", 3600.0), 1000.0)
    short = exchange.read(wanted(auth()), TokenAnswer("t", "bearer", 50.0), 1000.0)
    unsaid = exchange.read(wanted(auth()), TokenAnswer("t", "N_A"), 1000.0)
    assert (long.expires_unix, exchange.fresh_until(long, 1000.0)) == (4600.0, 4540.0)
    assert (short.expires_unix, exchange.fresh_until(short, 1000.0)) == (1050.0, 1040.0)
    assert unsaid.expires_unix == 1300.0
    assert unsaid.scheme == "Bearer"


def test_what_holds_tokens_shows_none_of_them() -> None:
    shown = repr(wanted(auth(), actor="agent's"))
    assert "caller" not in shown
    assert "secret" not in shown
    assert "agent" not in shown


def test_callers_servers_and_declarations_are_told_apart() -> None:
    keys = {
        exchange.key_of(*parts)
        for parts in [
            ("acme", "bank", "m", b"t", ""),
            ("beta", "bank", "m", b"t", ""),
            ("acme", "desk", "m", b"t", ""),
            ("acme", "bank", "n", b"t", ""),
            ("acme", "bank", "m", b"u", ""),
            ("acme", "bank", "m", b"t", "a"),
        ]
    }
    assert len(keys) == 6


@pytest.mark.parametrize(
    "declared",
    [
        {"type": "token_exchange", **SOUND},
        {"type": "token_exchange", **SOUND, "looks": "client", "audience": "bank", "actors": {"helper": "h"}},
        {"type": "token_exchange", **SOUND, "dialect": "entra", "scopes": ["api://x/.default"]},
        {"type": "id_jag", **JAG, **ENDS, "subject": "caller"},
        {"type": "id_jag", **JAG, "subject_token": "s"},
    ],
)
def test_what_is_whole_is_taken(declared: dict[str, object]) -> None:
    assert rules(declared) == set()


@pytest.mark.parametrize(
    ("declared", "paths"),
    [
        ({"type": "token_exchange", **SOUND, "token_endpoint": "http://as.example"}, {"spec.auth.token_endpoint"}),
        ({"type": "token_exchange", **SOUND, "token_endpoint": ""}, {"spec.auth.token_endpoint"}),
        ({"type": "token_exchange", **SOUND, "client_id": ""}, {"spec.auth.client_id"}),
        ({"type": "token_exchange", **SOUND, "private_key": "k"}, {"spec.auth"}),
        ({"type": "token_exchange", **SOUND, "client_secret": "", "looks": "client"}, {"spec.auth.looks"}),
        ({"type": "token_exchange", **SOUND, "dialect": "entra"}, {"spec.auth.scopes"}),
        (
            {"type": "token_exchange", **SOUND, "dialect": "entra", "scopes": ["a"], "audience": "b"},
            {"spec.auth.audience"},
        ),
        (
            {
                "type": "token_exchange",
                **SOUND,
                "dialect": "entra",
                "scopes": ["a"],
                "client_secret": "",
                "private_key": "k",
            },
            {"spec.auth.private_key"},
        ),
        ({"type": "token_exchange", **SOUND, "resource": "a\nb"}, {"spec.auth.resource"}),
        (
            {"type": "id_jag", **JAG, "subject": "caller"},
            {"spec.auth.token_endpoint", "spec.auth.idp_token_endpoint"},
        ),
        ({"type": "id_jag", **JAG}, {"spec.auth.subject_token"}),
        (
            {"type": "id_jag", **JAG, "subject_token": "s", "token_endpoint": "https://as.example/t"},
            {"spec.auth.token_endpoint"},
        ),
    ],
)
def test_everything_wrong_is_told_with_its_field(declared: dict[str, object], paths: set[str]) -> None:
    assert rules(declared) == paths
