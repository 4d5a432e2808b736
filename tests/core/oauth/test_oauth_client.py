"""What a redirect URI may be, and which one is another."""

import pytest

from core.oauth.client import AgentClient, Metadata, redirect_problems, same_redirect


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example.com/callback",
        "https://app.example.com:8443/cb?x=1",
        "http://127.0.0.1/cb",
        "http://[::1]:7000/cb",
        "http://localhost:3334/oauth/callback",
        "com.example.app:/oauth",
        "cursor://anysphere.cursor-retrieval/oauth/user-github/callback",
    ],
)
def test_these_lead_to_a_client(uri: str) -> None:
    assert list(redirect_problems("x", [uri])) == []


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/callback",
        "http://app.example.com/callback",
        "http://127.0.0.1.example.com/cb",
        "https://app.example.com/cb#fragment",
        "https://app.example.com/cb#",
        "https://user:pass@app.example.com/cb",
        "https:///cb",
        "https://app.example.com/c b",
        "https://app.example.com/cb\n",
        "https://ex\N{LATIN SMALL LETTER A WITH DIAERESIS}mple.com/",
        "https://app.example.com:99999/",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "x" * 3000,
    ],
)
def test_these_lead_nowhere_good(uri: str) -> None:
    assert len(list(redirect_problems("x", [uri]))) == 1


def test_there_are_only_so_many() -> None:
    assert [problem.path for problem in redirect_problems("x", ["https://a.example/"] * 21)] == ["x"]


@pytest.mark.parametrize(
    ("known", "asked", "same"),
    [
        ("https://a.example/cb", "https://a.example/cb", True),
        ("https://a.example/cb", "https://a.example/cb/", False),
        ("https://a.example/cb", "https://A.example/cb", False),
        ("https://a.example/cb", "https://a.example:443/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:5000/cb", True),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1:5000/cb", True),
        ("http://localhost/cb", "http://localhost:5000/cb", True),
        ("http://[::1]/cb", "http://[::1]:5000/cb", True),
        ("http://127.0.0.1/cb", "http://localhost:5000/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:5000/other", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:5000/cb?x=1", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:5000/cb#x", False),
        ("http://127.0.0.1/cb", "http://user@127.0.0.1:5000/cb", False),
        ("http://127.0.0.1/cb", "https://127.0.0.1:5000/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:x/cb", False),
        ("com.example.app:/cb", "com.example.app:/cb2", False),
    ],
)
def test_only_the_port_on_loopback_is_free(known: str, asked: str, same: bool) -> None:
    assert same_redirect(known, asked) is same


@pytest.mark.parametrize(
    ("client", "paths"),
    [
        (AgentClient(), []),
        (AgentClient(auth="private_key_jwt"), ["x.jwks"]),
        (AgentClient(auth="none"), ["x.grants"]),
        (AgentClient(grants=["authorization_code"]), ["x.redirect_uris"]),
        (AgentClient(scopes=["a b"]), ["x.scopes[0]"]),
        (AgentClient(jwks=[{"kty": "EC", "d": "x"}]), ["x.jwks[0]"]),
        (AgentClient(jwks=[{"kty": "EC"}] * 11), ["x.jwks"]),
    ],
)
def test_an_agents_part_is_checked_by_field(client: AgentClient, paths: list[str]) -> None:
    assert [problem.path for problem in client.problems("x")] == paths


def test_metadata_says_all_that_is_wrong_at_once() -> None:
    about = Metadata(
        client_name="a\nb",
        grant_types=["implicit"],
        response_types=["token"],
        token_endpoint_auth_method="private_key_jwt",
    )
    found = [problem.path for problem in about.problems()]
    assert found == ["redirect_uris", "client_name", "grant_types", "response_types", "jwks"]
