"""Who is let in at the pages on which accounts at servers are connected."""

from tests.control_plane.oauth.conftest import PASSWORD, Issuer
from tests.harness.browser import Browser

BANK = {"transport": {"type": "http", "url": "https://bank.example/mcp"}, "auth": {"type": "oauth"}}


async def link(issuer: Issuer) -> str:
    await issuer.user("ada")
    await issuer.apply("Server", "bank", BANK)
    path = issuer.path("servers/bank/connections:link")
    answer = await issuer.plane.http("POST", path, {"subject": "user/ada"})
    assert answer.status == 200, answer.body
    return str(answer.json["url"])


async def test_an_address_that_nobody_verified_will_not_do_here_either(issuer: Issuer) -> None:
    await issuer.server(scopes={"mcp": "x"}, require_verified_email=True)
    url = await link(issuer)
    for verified, heading in ((False, "<h1>Sign in</h1>"), (True, "<h1>Connect bank</h1>")):
        await issuer.user("ada", verified=verified)
        browser = Browser()
        page = await browser.send(await browser.open(url), "sign-in", user="ada", password=PASSWORD)
        assert heading in page.text
