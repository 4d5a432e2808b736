"""An agent gets a token for itself: by a secret, or by a key of its own."""

import base64
import hmac
import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm

from control_plane.oauth.clients import ASSERTION
from tests.control_plane.oauth.conftest import Issuer, basic, declare
from tests.harness.browser import Browser
from tests.harness.control_plane import Answer


def wanted(issuer: Issuer, **changed: str) -> dict[str, str]:
    return {"grant_type": "client_credentials", "resource": issuer.resource, **changed}


async def namespaced(issuer: Issuer, agent: str) -> str:
    """A key of the agent's for a namespace that has the endpoint `inside`, and not `default`."""
    await issuer.apply("Namespace", "team", {})
    body = {"namespace": "team", "spec": {"members": []}}
    answer = await issuer.plane.http("PUT", issuer.path("Endpoint/inside"), body)
    assert answer.status == 200, answer.body
    return await issuer.key("namespaced", agent=agent, namespaces=["team"])


def refused(answer: Answer, status: int, code: str) -> str:
    """The description."""
    assert (answer.status, answer.json.get("error")) == (status, code), answer.body
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json["error_description"])


async def test_the_metadata_is_at_every_place_clients_look_for_it(issuer: Issuer) -> None:
    places = (
        f"/.well-known/oauth-authorization-server/oauth/{issuer.tenant}",
        f"/.well-known/openid-configuration/oauth/{issuer.tenant}",
        f"/oauth/{issuer.tenant}/.well-known/openid-configuration",
        f"/oauth/{issuer.tenant}/.well-known/oauth-authorization-server",
    )
    found = [await issuer.plane.http("GET", place, token="") for place in places]
    assert [answer.status for answer in found] == [200] * 4
    assert len({answer.body for answer in found}) == 1
    document = found[0].json
    assert document["issuer"] == issuer.url
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["authorization_response_iss_parameter_supported"] is True
    assert "registration_endpoint" not in document
    assert found[0].headers["access-control-allow-origin"] == "*"
    assert found[0].headers["cache-control"] == "public, max-age=300"


@pytest.mark.parametrize("path", ["/oauth/nobody/jwks", "/.well-known/oauth-authorization-server/oauth/nobody"])
async def test_a_tenant_without_one_has_no_issuer(issuer: Issuer, path: str) -> None:
    assert (await issuer.plane.http("GET", path, token="")).status == 404


async def test_no_private_half_of_a_key_is_ever_shown(issuer: Issuer) -> None:
    keys = await issuer.jwks()
    assert [sorted(key) for key in keys] == [["alg", "crv", "kid", "kty", "use", "x", "y"]]
    shown = await issuer.plane.http("GET", issuer.path("authorizationservers/default"))
    assert shown.json["status"] == {**shown.json["status"], "issuer": issuer.url, "keys": keys}  # type: ignore[dict-item]
    assert b'"d"' not in shown.body


@pytest.mark.parametrize("way", ["basic", "post"])
async def test_an_agent_gets_a_token_with_its_key_as_secret(issuer: Issuer, way: str) -> None:
    secret = await issuer.agent("robot", grants=["client_credentials"])
    if way == "basic":
        answer = await issuer.ask("token", basic("robot", secret), **wanted(issuer))
    else:
        answer = await issuer.ask("token", **wanted(issuer), client_id="robot", client_secret=secret)
    assert answer.status == 200, answer.body
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 600)
    assert "refresh_token" not in answer.json
    claims = await issuer.claims(str(answer.json["access_token"]))
    assert claims["sub"] == claims["agent"] == claims["client_id"] == "robot"
    assert "user" not in claims
    assert claims["aud"] == issuer.resource
    assert claims["scope"] == "mcp more"
    assert 590 < float(str(claims["exp"])) - time.time() <= 600
    assert await issuer.audit() == [("oauth/token", "issued", "/robot")]


async def test_only_a_key_of_the_agents_own_is_its_secret(issuer: Issuer) -> None:
    secret = await issuer.agent("robot", grants=["client_credentials"])
    await issuer.agent("other", grants=["client_credentials"])
    await issuer.apply("User", "ada", {})
    shared = await issuer.key("shared", agent="robot", user="ada")
    for wrong in (shared, "", f"tgk_{issuer.tenant}_0_0", secret + "0", await issuer.key("another", agent="other")):
        refused(await issuer.ask("token", basic("robot", wrong), **wanted(issuer)), 401, "invalid_client")
    refused(await issuer.ask("token", basic("nobody", secret), **wanted(issuer)), 401, "invalid_client")
    refused(await issuer.ask("token", **wanted(issuer), client_id="robot"), 401, "invalid_client")
    both = await issuer.ask("token", basic("robot", secret), **wanted(issuer), client_secret=secret)
    refused(both, 400, "invalid_request")
    rotated = await issuer.key("robot", agent="robot")
    refused(await issuer.ask("token", basic("robot", secret), **wanted(issuer)), 401, "invalid_client")
    assert (await issuer.ask("token", basic("robot", rotated), **wanted(issuer))).status == 200
    await issuer.plane.http("POST", issuer.path("apikeys/robot:revoke"), {})
    refused(await issuer.ask("token", basic("robot", rotated), **wanted(issuer)), 401, "invalid_client")


async def test_an_agent_that_may_not_or_is_disabled_gets_nothing(issuer: Issuer) -> None:
    await issuer.apply("Agent", "plain", {})
    secret = await issuer.key("plain", agent="plain")
    refused(await issuer.ask("token", basic("plain", secret), **wanted(issuer)), 401, "invalid_client")
    secret = await issuer.agent(
        "page", grants=["authorization_code"], redirect_uris=["https://a.example/"], auth="secret"
    )
    refused(await issuer.ask("token", basic("page", secret), **wanted(issuer)), 400, "unauthorized_client")
    secret = await issuer.agent("robot", grants=["client_credentials"])
    await issuer.apply("Agent", "robot", {"oauth": {}, "disabled": True})
    refused(await issuer.ask("token", basic("robot", secret), **wanted(issuer)), 401, "invalid_client")


@pytest.mark.parametrize(
    "resource",
    [
        "http://127.0.0.1:8080/other/default/mcp",
        "http://127.0.0.1:8080/TENANT/unknown/mcp",
        "http://127.0.0.1:8080/TENANT/default/mcp?x=1",
        "http://127.0.0.1:8080/TENANT/default/mcp#x",
        "http://127.0.0.1:8080/TENANT/default/../default/mcp",
        "http://user@127.0.0.1:8080/TENANT/default/mcp",
        "https://gateway.example.com/TENANT/default/mcp",
        "http://127.0.0.1.example.com/TENANT/default/mcp",
        "urn:acme",
        "x" * 4000,
    ],
)
async def test_a_token_is_for_an_endpoint_of_the_tenant_alone(issuer: Issuer, resource: str) -> None:
    secret = await issuer.agent("robot", grants=["client_credentials"])
    form = wanted(issuer, resource=resource.replace("TENANT", issuer.tenant))
    refused(await issuer.ask("token", basic("robot", secret), **form), 400, "invalid_target")


async def test_a_key_for_some_endpoints_gets_tokens_for_those(issuer: Issuer) -> None:
    await issuer.agent("robot", grants=["client_credentials"])
    await issuer.apply("Endpoint", "other", {"members": []})
    secret = await issuer.key("narrow", agent="robot", endpoints=["other"])
    refused(await issuer.ask("token", basic("robot", secret), **wanted(issuer)), 400, "invalid_target")
    form = wanted(issuer, resource=issuer.endpoint("other"))
    assert (await issuer.ask("token", basic("robot", secret), **form)).status == 200


async def test_a_key_for_a_namespace_gets_tokens_for_endpoints_there(issuer: Issuer) -> None:
    await issuer.agent("robot", grants=["client_credentials"])
    secret = await namespaced(issuer, "robot")
    refused(await issuer.ask("token", basic("robot", secret), **wanted(issuer)), 400, "invalid_target")
    form = wanted(issuer, resource=issuer.endpoint("inside"))
    assert (await issuer.ask("token", basic("robot", secret), **form)).status == 200


async def test_a_key_with_scopes_gets_tokens_with_no_others(issuer: Issuer) -> None:
    await issuer.agent("robot", grants=["client_credentials"])
    secret = await issuer.key("narrow", agent="robot", scopes=["more", "else"])
    answer = await issuer.ask("token", basic("robot", secret), **wanted(issuer))
    assert answer.json["scope"] == "more"
    refused(await issuer.ask("token", basic("robot", secret), **wanted(issuer), scope="mcp"), 400, "invalid_scope")
    nothing = await issuer.key("nothing", agent="robot", scopes=["else"])
    refused(await issuer.ask("token", basic("robot", nothing), **wanted(issuer)), 400, "invalid_scope")


async def test_a_grant_that_is_not_served_is_refused_when_declared(issuer: Issuer) -> None:
    spec = {"oauth": {"grants": ["client_credentials", "password"]}}
    answer = await issuer.plane.http("PUT", issuer.path("agents/robot"), {"spec": spec})
    assert answer.status == 400, answer.body
    assert [one["path"] for one in answer.json["errors"]] == ["spec.oauth.grants[1]"]  # type: ignore[attr-defined]


async def test_a_scope_is_one_the_client_may_have(issuer: Issuer) -> None:
    secret = await issuer.agent("robot", grants=["client_credentials"], scopes=["mcp"])
    for scope in ("more", "mcp more", "unknown", "mcp\x01"):
        answer = await issuer.ask("token", basic("robot", secret), **wanted(issuer), scope=scope)
        refused(answer, 400, "invalid_scope")
    answer = await issuer.ask("token", basic("robot", secret), **wanted(issuer))
    assert answer.json["scope"] == "mcp"


async def test_what_cannot_be_read_is_refused_by_name(issuer: Issuer) -> None:
    refused(await issuer.ask("token"), 400, "invalid_request")
    refused(await issuer.ask("token", grant_type="password", username="a"), 400, "unsupported_grant_type")
    path, form = f"/oauth/{issuer.tenant}/token", "application/x-www-form-urlencoded"
    for raw, content_type in (
        (b"grant_type=client_credentials&grant_type=client_credentials", form),
        (b"grant_type=%ff", form),
        (b"&".join(b"a%d=1" % i for i in range(60)), form),
        (b'{"grant_type":"client_credentials"}', "application/json"),
        (b"grant_type=a%00b", form),
    ):
        answer = await issuer.plane.http("POST", path, token="", raw=raw, content_type=content_type)
        refused(answer, 400, "invalid_request")
    answer = await issuer.plane.http("GET", path, token="")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


class Assertions:
    """An agent that proves itself with a key of its own."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.public = json.loads(ECAlgorithm.to_jwk(self.key.public_key())) | {"kid": "one"}

    async def declare(self) -> None:
        await self.issuer.apply(
            "Agent",
            "robot",
            {"oauth": {"grants": ["client_credentials"], "auth": "private_key_jwt", "jwks": [self.public]}},
        )

    def made(self, key: object = None, algorithm: str = "ES256", kid: str = "one", **changed: object) -> str:
        now = time.time()
        claims = {"iss": "robot", "sub": "robot", "aud": self.issuer.url, "exp": now + 60, "jti": secrets.token_hex(8)}
        kept = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        return jwt.encode(kept, key or self.key, algorithm=algorithm, headers={"kid": kid})  # type: ignore[arg-type]

    async def ask(self, assertion: str, **more: str) -> Answer:
        form = {**wanted(self.issuer), "client_assertion_type": ASSERTION, "client_assertion": assertion, **more}
        return await self.issuer.ask("token", **form)


def unsigned(token: str) -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one","typ":"JWT"}').rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


def with_secret(token: str, secret: bytes) -> str:
    """The token as somebody would sign it who takes a public key for a shared secret."""
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one","typ":"JWT"}').rstrip(b"=").decode()
    said = f"{header}.{token.split('.')[1]}"
    made = hmac.digest(secret, said.encode(), "sha256")
    return f"{said}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"


async def test_an_agent_proves_itself_with_its_own_key(issuer: Issuer) -> None:
    robot = Assertions(issuer)
    await robot.declare()
    first = robot.made()
    answer = await robot.ask(first)
    assert answer.status == 200, answer.body
    assert (await issuer.claims(str(answer.json["access_token"])))["agent"] == "robot"
    assert "used before" in refused(await robot.ask(first), 401, "invalid_client")
    assert (await robot.ask(robot.made(aud=[f"{issuer.url}/token", "else"]), client_id="robot")).status == 200


async def test_an_assertion_that_is_not_quite_right_is_refused(issuer: Issuer) -> None:
    robot = Assertions(issuer)
    await robot.declare()
    now = time.time()
    stranger = ec.generate_private_key(ec.SECP256R1())
    rsa_key = rsa.generate_private_key(65537, 2048)
    wrong = {
        "of another issuer": robot.made(aud=f"{issuer.base}/oauth/{issuer.tenant}-other"),
        "for no one": robot.made(aud=None),
        "too old": robot.made(exp=now - 60),
        "never ending": robot.made(exp=None),
        "ending too late": robot.made(exp=now + 86_400),
        "not yet good": robot.made(nbf=now + 3600),
        "of another": robot.made(iss="other"),
        "about another": robot.made(sub="other"),
        "without an id": robot.made(jti=None),
        "signed by a stranger": robot.made(stranger),
        "signed with RSA": robot.made(rsa_key, "RS256"),
        "signed with the public key as a secret": with_secret(robot.made(), json.dumps(robot.public).encode()),
        "of an unknown key": robot.made(kid="two"),
        "unsigned": unsigned(robot.made()),
        "cut": robot.made()[:-4],
        "no token": "a.b",
        "huge": "a" * 20_000,
    }
    for what, assertion in wrong.items():
        answer = await robot.ask(assertion)
        assert (answer.status, answer.json["error"]) == (401, "invalid_client"), what
    refused(await robot.ask(robot.made(), client_id="other"), 401, "invalid_client")
    typed = wanted(issuer) | {"client_assertion": robot.made(), "client_assertion_type": "else"}
    refused(await issuer.ask("token", **typed), 400, "invalid_request")
    secret = await issuer.key("robot", agent="robot")
    refused(await issuer.ask("token", basic("robot", secret), **wanted(issuer)), 401, "invalid_client")


async def test_a_clients_keys_are_public_ones_and_set_by_owners(issuer: Issuer) -> None:
    robot = Assertions(issuer)
    private = json.loads(ECAlgorithm.to_jwk(robot.key))
    spec = {"oauth": {"auth": "private_key_jwt", "jwks": [private, {"kty": "oct", "k": "AA"}], "redirect_uris": ["x"]}}
    answer = await issuer.plane.http("PUT", issuer.path("agents/robot"), {"spec": spec})
    problems = {one["path"] for one in answer.json["errors"]}  # type: ignore[attr-defined]
    assert problems == {
        "spec.oauth.jwks[0]",
        "spec.oauth.jwks[1]",
        "spec.oauth.jwks[1].kty",
        "spec.oauth.redirect_uris[0]",
    }
    editor = await issuer.key("editor", admin_role="editor")
    for body in ({"spec": {"oauth": {}}}, {"spec": {}}):
        answer = await issuer.plane.http("PUT", issuer.path("agents/robot"), body, token=editor)
        assert (answer.status == 200) is (body == {"spec": {}}), answer.body
    answer = await issuer.plane.http("PUT", issuer.path("authorizationservers/default"), {"spec": {}}, token=editor)
    assert answer.status == 403


async def test_a_token_of_another_tenant_is_nothing_here(issuer: Issuer) -> None:
    other = Issuer(issuer.plane, f"{issuer.tenant}-other")
    await declare(other)
    secret = await issuer.agent("robot", grants=["client_credentials"])
    theirs = await other.agent("robot", grants=["client_credentials"])
    refused(await issuer.ask("token", basic("robot", theirs), **wanted(issuer)), 401, "invalid_client")
    form = wanted(other)
    token = str((await other.ask("token", basic("robot", theirs), **form)).json["access_token"])
    answer = await issuer.ask("introspect", basic("robot", secret), token=token)
    assert answer.json == {"active": False}


async def test_a_new_key_is_announced_before_it_signs(issuer: Issuer) -> None:
    before = await issuer.jwks()
    answer = await issuer.plane.http("POST", issuer.path("authorizationservers/default:rotateKeys"), {})
    assert answer.status == 200, answer.body
    after = await issuer.jwks()
    assert [key["kid"] for key in after] == answer.json["ids"]
    assert after[1:] == before
    secret = await issuer.agent("robot", grants=["client_credentials"])
    answer = await issuer.ask("token", basic("robot", secret), **wanted(issuer))
    header = jwt.get_unverified_header(str(answer.json["access_token"]))
    assert header["kid"] == before[0]["kid"]


async def test_who_cannot_prove_to_be_the_client_is_on_record(issuer: Issuer) -> None:
    # Of one address some twenty are recorded a minute, and other tests come from the usual one.
    issuer.source = Browser().address
    await issuer.agent("robot", grants=["client_credentials"])
    refused(await issuer.ask("token", basic("robot", "tgk_wrong"), **wanted(issuer)), 401, "invalid_client")
    refused(await issuer.ask("introspect", token="x", client_id="nobody"), 401, "invalid_client")
    answer = await issuer.plane.http("GET", issuer.path("audit?type=auth"))
    rows = [row for row in answer.json["entries"] if row["tool"] == "oauth/client"]  # type: ignore[attr-defined]
    assert [(row["outcome"], row["detail"]["client_id"]) for row in rows] == [
        ("refused", "nobody"),
        ("refused", "robot"),
    ]
    assert all(row["detail"]["address"] == issuer.source for row in rows)


async def test_a_token_ends_with_the_key_that_bought_it(issuer: Issuer) -> None:
    await issuer.agent("robot")
    ends = datetime.now(UTC) + timedelta(seconds=90)
    secret = await issuer.key("short", agent="robot", expires_at=ends.isoformat())
    answer = await issuer.ask("token", basic("robot", secret), **wanted(issuer))
    claims = await issuer.claims(str(answer.json["access_token"]))
    assert claims["exp"] == int(ends.timestamp())
    assert int(str(answer.json["expires_in"])) <= 90


async def test_names_no_client_can_have_are_unknown_ones(issuer: Issuer) -> None:
    for strange in ("a\0b", "reg_\0" + "0" * 31, "reg_" + "A" * 32, "é", "x" * 1000):
        refused(await issuer.ask("token", basic(quote(strange), "x"), **wanted(issuer)), 401, "invalid_client")
        key = ec.generate_private_key(ec.SECP256R1())
        assertion = jwt.encode({"sub": strange, "iss": strange}, key, algorithm="ES256")
        form = wanted(issuer, client_assertion=assertion, client_assertion_type=ASSERTION)
        refused(await issuer.ask("token", **form), 401, "invalid_client")
        page = await Browser().open(f"{issuer.url}/authorize?{urlencode({'client_id': strange})}")
        assert page.status == 400
    answer = await issuer.plane.http(
        "GET", f"/oauth/{issuer.tenant}/authorize?client_id=x", token="", cookie="toolgate-browser=" + "\xe9" * 43
    )
    assert answer.status == 400
