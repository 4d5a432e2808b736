"""Clients that register themselves, and how far they are trusted."""

import pytest

from tests.control_plane.oauth.conftest import REDIRECT, Dance, Issuer, basic
from tests.control_plane.oauth.test_client_credentials import refused
from tests.harness.browser import Browser


async def test_clients_register_where_the_tenant_lets_them(issuer: Issuer) -> None:
    await issuer.user("ada")
    about = {"redirect_uris": [REDIRECT], "client_name": "A <b>new</b> app", "token_endpoint_auth_method": "none"}
    answer = await issuer.register(about)
    refused(answer, 403, "access_denied")
    await issuer.server(dynamic_registration=True)
    metadata = await issuer.plane.http(
        "GET", f"/.well-known/oauth-authorization-server/oauth/{issuer.tenant}", token=""
    )
    assert metadata.json["registration_endpoint"] == f"{issuer.url}/register"
    answer = await issuer.register(about)
    assert answer.status == 201, answer.body
    assert "client_secret" not in answer.json
    dance = Dance(issuer, str(answer.json["client_id"]))
    page = await dance.consent()
    assert "A &lt;b&gt;new&lt;/b&gt; app" in page.text
    code = dance.told(await dance.browser.send(page, "consent", "allow"))["code"]
    token = await dance.token(code)
    claims = await issuer.claims(str(token.json["access_token"]))
    assert (claims["user"], claims["client_id"], "agent" in claims) == ("ada", dance.client_id, False)
    confidential = (await issuer.register({"redirect_uris": [REDIRECT]})).json
    dance = Dance(issuer, str(confidential["client_id"]))
    code = (await dance.allowed())["code"]
    answer = await dance.token(code, basic(dance.client_id, str(confidential["client_secret"])))
    assert answer.status == 200, answer.body


async def test_nobody_is_sent_to_a_client_by_a_mistake_alone_before_anybody_allowed_it_something(
    issuer: Issuer,
) -> None:
    await issuer.user("ada")
    await issuer.server(scopes={"mcp": "x"}, dynamic_registration=True)
    answer = await issuer.register({"redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none"})
    dance = Dance(issuer, str(answer.json["client_id"]))
    mistakes: tuple[dict[str, str | None], ...] = ({"response_type": "token"}, {"scope": "all"}, {"prompt": "none"})
    for changed in mistakes:
        page = await Browser().open(dance.link(**changed))
        assert (page.status, page.headers.get("location")) == (400, None)
        assert "This cannot go on" in page.text
    # Whoever is asked decides where to go, also by saying no.
    told = dance.told(await dance.browser.send(await dance.consent(), "consent", "deny"))
    assert (told["error"], told["state"]) == ("access_denied", dance.state)
    assert (await Browser().open(dance.link(scope="all"))).status == 400
    assert "code" in await dance.allowed()
    for changed in mistakes:
        assert "error" in dance.told(await Browser().open(dance.link(**changed)))


@pytest.mark.parametrize(
    ("about", "error"),
    [
        ({}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://app.example.com/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://a.example/#x"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["data:text/html,x"]}, "invalid_redirect_uri"),
        ({"redirect_uris": [REDIRECT], "grant_types": ["client_credentials"]}, "invalid_client_metadata"),
        ({"redirect_uris": [REDIRECT], "token_endpoint_auth_method": "tls"}, "invalid_client_metadata"),
        ({"redirect_uris": [REDIRECT], "client_name": "x" * 201}, "invalid_client_metadata"),
        ({"redirect_uris": REDIRECT}, "invalid_client_metadata"),
        ({"redirect_uris": [REDIRECT] * 21}, "invalid_redirect_uri"),
    ],
)
async def test_a_registration_that_is_not_right_is_refused(issuer: Issuer, about: object, error: str) -> None:
    await issuer.server(dynamic_registration=True)
    refused(await issuer.register(about), 400, error)


async def test_registrations_from_one_address_are_paced(issuer: Issuer) -> None:
    await issuer.server(dynamic_registration=True)
    about = {"redirect_uris": [REDIRECT]}
    answers = [await issuer.register(about, "127.9.9.9") for _ in range(12)]
    assert {answer.status for answer in answers[:10]} == {201}
    refused(answers[11], 429, "slow_down")
    assert answers[11].headers["retry-after"] == "60"
