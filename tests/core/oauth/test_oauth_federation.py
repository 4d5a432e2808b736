"""Signing in at somebody else's provider: what is sent, and which answers count."""

from urllib.parse import parse_qs, urlsplit

import pytest

from core.oauth.federation import SKEW_S, check_claims, check_lately, departure_url, journey
from core.oauth_client import ServerMetadata, code_challenge
from core.token import BadToken

SECRET = bytes(32)


def test_a_journey_is_made_of_its_state_and_a_secret_of_the_tenants() -> None:
    going = journey("state", SECRET)
    assert going == journey("state", SECRET)
    for other in (journey("another", SECRET), journey("state", bytes([1]) * 32)):
        assert not {going.verifier, going.nonce} & {other.verifier, other.nonce}
    assert journey("state", bytes([1]) * 32).mark == going.mark
    assert len({going.state, going.verifier, going.nonce}) == 3


def test_the_request_has_a_nonce_and_a_challenge_and_asks_for_openid() -> None:
    server = ServerMetadata("https://idp.example", authorization_endpoint="https://idp.example/a?tenant=1")
    going = journey("state", SECRET)
    url = departure_url(server, "toolgate", "https://us.example/oauth/acme/callback", going, ["email"], None)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert asked == {
        "tenant": "1",
        "response_type": "code",
        "client_id": "toolgate",
        "redirect_uri": "https://us.example/oauth/acme/callback",
        "scope": "openid email",
        "state": "state",
        "nonce": going.nonce,
        "code_challenge": code_challenge(going.verifier),
        "code_challenge_method": "S256",
    }


def test_how_long_ago_somebody_may_have_signed_in_there_is_asked_for_outright() -> None:
    server = ServerMetadata("https://idp.example", authorization_endpoint="https://idp.example/a")
    for max_age_s, prompt, said in ((0, ["login"], ["0"]), (60, None, ["60"]), (None, None, None)):
        url = departure_url(server, "toolgate", "https://us.example/cb", journey("state", SECRET), [], max_age_s)
        asked = parse_qs(urlsplit(url).query)
        assert (asked.get("prompt"), asked.get("max_age")) == (prompt, said)


@pytest.mark.parametrize(
    ("said", "good"),
    [
        (1000, True),
        (1000.5, True),
        (1000 - SKEW_S, True),
        (999 - SKEW_S, False),
        *((one, False) for one in (None, "1000", True, -5, float("inf"), float("nan"))),
    ],
)
def test_who_signed_in_there_too_long_ago_or_who_knows_when_is_refused(said: object, good: bool) -> None:
    check_lately({"auth_time": said}, 0.0)
    check_lately({}, 0.0)
    if good:
        check_lately({"auth_time": said}, 1000.0)
        return
    with pytest.raises(BadToken):
        check_lately({"auth_time": said}, 1000.0)


@pytest.mark.parametrize(
    ("claims", "verified", "good"),
    [
        ({"aud": "me", "nonce": "n"}, False, True),
        ({"aud": ["me"], "nonce": "n", "azp": "me"}, False, True),
        ({"aud": ["me", "you"], "nonce": "n", "azp": "me"}, False, True),
        ({"aud": ["me", "you"], "nonce": "n"}, False, False),
        ({"aud": "me", "nonce": "n", "azp": "you"}, False, False),
        ({"aud": "you", "nonce": "n"}, False, False),
        ({"nonce": "n"}, False, False),
        ({"aud": "me"}, False, False),
        ({"aud": "me", "nonce": ""}, False, False),
        ({"aud": "me", "nonce": "n"}, True, False),
        ({"aud": "me", "nonce": "n", "email_verified": "true"}, True, False),
        ({"aud": "me", "nonce": "n", "email_verified": True}, True, True),
    ],
)
def test_an_id_token_is_for_us_and_answers_us(claims: dict[str, object], verified: bool, good: bool) -> None:
    if good:
        check_claims(claims, "me", "n", verified=verified)
        return
    with pytest.raises(BadToken):
        check_claims(claims, "me", "n", verified=verified)
