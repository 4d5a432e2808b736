"""Resources, scopes and challenges."""

import pytest

from core.oauth.client import AgentClient, agent_client
from core.oauth.errors import OAuthError
from core.oauth.grant import challenge_problem, endpoint_named, narrowed, scopes_for, verifies
from core.oauth.server import AuthorizationServer

GATEWAYS = ("https://mcp.example.com", "https://mcp.example.com:8443")


@pytest.mark.parametrize(
    ("resource", "endpoint"),
    [
        ("https://mcp.example.com/acme/tools/mcp", "tools"),
        ("https://mcp.example.com:8443/acme/tools/sse", "tools"),
        ("https://mcp.example.com/acme/tools/servers/shop/mcp", "tools"),
        ("https://mcp.example.com/acme/tools", "tools"),
        ("https://mcp.example.com/mcp", None),
        ("https://mcp.example.com/servers/shop/mcp", None),
        ("https://mcp.example.com/other/tools/mcp", None),
        ("https://mcp.example.com/acme/tools/mcp/", None),
        ("https://mcp.example.com/", None),
        ("https://mcp.example.com/acme/tools/mcp?", None),
        ("https://mcp.example.com/acme/tools/mcp#", None),
        ("https://mcp.example.com/acme%2Ftools/mcp", None),
        ("https://MCP.example.com/acme/tools/mcp", None),
        ("http://mcp.example.com/acme/tools/mcp", None),
        ("https://mcp.example.com:443/acme/tools/mcp", None),
        ("https://a@mcp.example.com/acme/tools/mcp", None),
        ("http://127.0.0.1:8080/acme/tools/mcp", None),
        ("", None),
    ],
)
def test_a_resource_names_an_endpoint_of_the_tenant_or_nothing(resource: str, endpoint: str | None) -> None:
    assert endpoint_named(resource, "acme", GATEWAYS) == endpoint


def test_without_gateways_loopback_alone_is_known() -> None:
    assert endpoint_named("http://127.0.0.1:8080/acme/tools/mcp", "acme", ()) == "tools"
    assert endpoint_named("http://localhost/acme/tools/mcp", "acme", ()) == "tools"
    assert endpoint_named("https://mcp.example.com/mcp", "acme", ()) is None


def test_on_a_machine_of_ones_own_any_port_may_lead_to_the_gateway() -> None:
    own = ("http://127.0.0.1:8080", "http://localhost:8080")
    assert endpoint_named("http://localhost:9000/acme/tools/mcp", "acme", own) == "tools"
    assert endpoint_named("http://127.0.0.1:9000/acme/tools/mcp", "acme", (*own, GATEWAYS[0])) is None
    assert endpoint_named("https://mcp.example.com/acme/tools/mcp", "acme", own) is None


def test_scopes_are_those_asked_for_or_all_there_may_be() -> None:
    server = AuthorizationServer(scopes={"a": "A", "b": "B", "c": "C"})
    client = agent_client("robot", "", AgentClient(scopes=["a", "b"]))
    assert scopes_for("", server, client) == ("a", "b")
    assert scopes_for("b a b", server, client) == ("b", "a")
    with pytest.raises(OAuthError, match="invalid_scope: this client may not have the scope c"):
        scopes_for("a c", server, client)
    assert narrowed("", ("a", "b")) == ("a", "b")
    assert narrowed("b", ("a", "b")) == ("b",)
    with pytest.raises(OAuthError, match="invalid_scope"):
        narrowed("c", ("a", "b"))


def test_the_example_of_rfc_7636_verifies() -> None:
    verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert challenge_problem(challenge, "S256") == ""
    assert verifies(verifier, challenge)
    assert not verifies(verifier + "x", challenge)
    assert not verifies(challenge, challenge)
    assert not verifies("short", challenge)
    assert not verifies("", challenge)


@pytest.mark.parametrize(
    ("spec", "paths"),
    [
        (AuthorizationServer(), []),
        (AuthorizationServer(access_token_s=59, refresh_token_s=1), ["spec.access_token_s", "spec.refresh_token_s"]),
        (AuthorizationServer(refresh_token_s=0), []),
        (AuthorizationServer(scopes={}), ["spec.scopes"]),
        (AuthorizationServer(scopes={"a b": "x", "c": " "}), ['spec.scopes["a b"]', 'spec.scopes["c"]']),
    ],
)
def test_a_server_is_checked_by_field(spec: AuthorizationServer, paths: list[str]) -> None:
    assert [problem.path for problem in spec.problems()] == paths
