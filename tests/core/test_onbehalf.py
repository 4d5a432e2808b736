"""How a server may be declared to be signed in to."""

import msgspec
import pytest

from core.server import Server

SOUND = {"type": "http", "url": "https://mcp.example/mcp"}


def rules(auth: dict[str, object], **transport: object) -> dict[str, str]:
    server = msgspec.convert({"transport": SOUND | transport, "auth": auth}, Server)
    return {problem.path: problem.rule for problem in server.problems()}


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "oauth"},
        {"type": "oauth", "client_id": "c", "issuer": "https://as.example", "client_secret": "s", "look_as": "ada"},
        {"type": "client_credentials", "issuer": "https://as.example", "client_id": "c", "client_secret": "s"},
        {"type": "client_credentials", "issuer": "https://as.example", "client_id": "c", "private_key": "k"},
        {"type": "jwt", "issuer": "https://as.example", "assertion": "a"},
    ],
)
def test_what_is_whole_is_taken(auth: dict[str, object]) -> None:
    assert rules(auth) == {}


@pytest.mark.parametrize(
    ("auth", "transport", "paths"),
    [
        ({"type": "oauth", "client_id": "c"}, {}, {"spec.auth.issuer"}),
        ({"type": "oauth", "client_secret": "s"}, {}, {"spec.auth.client_id"}),
        ({"type": "oauth", "scopes": ["a b", 'c"']}, {}, {"spec.auth.scopes[0]", "spec.auth.scopes[1]"}),
        ({"type": "oauth", "look_as": "Not A Name"}, {}, {"spec.auth.look_as"}),
        ({"type": "oauth", "issuer": "http://as.example"}, {}, {"spec.auth.issuer"}),
        ({"type": "oauth"}, {"headers": {"authorization": "x"}}, {"spec.auth"}),
        ({"type": "oauth"}, {"secret_headers": {"Authorization": "x"}}, {"spec.auth"}),
        ({"type": "oauth"}, {"replicas": [{"url": "https://b.example"}]}, {"spec.auth"}),
        ({"type": "oauth"}, {"type": "sse"}, {"spec.auth"}),
        ({"type": "client_credentials", "issuer": "", "client_id": "c"}, {}, {"spec.auth", "spec.auth.issuer"}),
        (
            {
                "type": "client_credentials",
                "issuer": "https://a",
                "client_id": "c",
                "client_secret": "s",
                "private_key": "k",
            },
            {},
            {"spec.auth"},
        ),
    ],
)
def test_everything_wrong_is_told_with_its_field(
    auth: dict[str, object], transport: dict[str, object], paths: set[str]
) -> None:
    assert rules(auth, **transport).keys() == paths


def test_plain_http_is_for_private_servers() -> None:
    auth = {"type": "jwt", "issuer": "http://localhost:1", "assertion": "a"}
    assert rules(auth).keys() == {"spec.auth.issuer"}
    assert rules(auth, allow_private=True) == {}


def test_the_secrets_of_a_server_are_named() -> None:
    auth = {
        "type": "id_jag",
        "issuer": "https://as.example",
        "client_id": "c",
        "client_secret": "one",
        "idp_issuer": "https://idp.example",
        "idp_client_id": "i",
        "subject_token": "two",
    }
    server = msgspec.convert({"transport": SOUND, "auth": auth}, Server)
    named = {(path, ref.kind, ref.name) for path, ref in server.references()}
    assert named == {("spec.auth.client_secret", "Secret", "one"), ("spec.auth.subject_token", "Secret", "two")}
