"""How secrets and the stores they come from may be declared."""

import msgspec
import pytest

from core.secret import Secret, source_mark
from core.secret_store import SecretStore

URL = "https://vault.example:8200"
TOKEN = {"type": "token", "token": "t"}
FILE = {"type": "file", "path": "db/password"}
VAULT = {"type": "vault", "store": "s", "path": "shop/db", "key": "password"}


def of(kind: type[Secret | SecretStore], spec: dict[str, object]) -> set[str]:
    return {problem.path for problem in msgspec.convert(spec, kind).problems()}


def named(kind: type[Secret | SecretStore], spec: dict[str, object]) -> dict[str, str]:
    return {path: str(ref) for path, ref in msgspec.convert(spec, kind).references()}


@pytest.mark.parametrize(
    "spec", [{"value": "x"}, {"source": FILE}, {"source": VAULT}, {"source": {**VAULT, "version": 3}}]
)
def test_a_secret_that_is_whole_is_taken(spec: dict[str, object]) -> None:
    assert of(Secret, spec) == set()


@pytest.mark.parametrize(
    ("spec", "paths"),
    [
        ({"value": "x", "source": FILE}, {"spec.value"}),
        *(
            ({"source": {**FILE, "path": path}}, {"spec.source.path"})
            for path in ("", "/etc/passwd", "../beta/key", "a/../../b", "a//b", "a/.", "a\x00b", "a\nb", "x" * 513)
        ),
        ({"source": {**FILE, "refresh_s": 1, "grace_s": -1}}, {"spec.source.refresh_s", "spec.source.grace_s"}),
        ({"source": {**VAULT, "path": "../sys/raw", "key": ""}}, {"spec.source.path", "spec.source.key"}),
        ({"source": {**VAULT, "version": -1}}, {"spec.source.version"}),
    ],
)
def test_everything_wrong_with_a_secret_is_told(spec: dict[str, object], paths: set[str]) -> None:
    assert of(Secret, spec) == paths


@pytest.mark.parametrize(
    "more",
    [
        {"login": TOKEN},
        {"login": {"type": "approle", "role_id": "r"}, "namespace": "team/a", "mount": "kv/shop"},
        {"login": {"type": "kubernetes", "role": "r", "jwt": "j"}, "version": 1},
        {"login": TOKEN, "url": "http://127.0.0.1:8200", "allow_private": True},
    ],
)
def test_a_store_that_is_whole_is_taken(more: dict[str, object]) -> None:
    assert of(SecretStore, {"url": URL, **more}) == set()


@pytest.mark.parametrize(
    ("more", "paths"),
    [
        ({"url": "http://vault.example"}, {"spec.url"}),
        ({"url": "https://user:pass@vault.example"}, {"spec.url"}),
        ({"url": "https://vault.example/?a=b"}, {"spec.url"}),
        ({"mount": "", "namespace": "a/../b"}, {"spec.mount", "spec.namespace"}),
        ({"namespace": "a\r\nX-Vault-Token: b"}, {"spec.namespace"}),
        ({"refresh_s": 1, "grace_s": -1}, {"spec.refresh_s", "spec.grace_s"}),
        ({"login": {"type": "approle", "role_id": "", "mount": "../x"}}, {"spec.login.role_id", "spec.login.mount"}),
        ({"login": {"type": "kubernetes", "role": "", "jwt": "j"}}, {"spec.login.role"}),
    ],
)
def test_everything_wrong_with_a_store_is_told(more: dict[str, object], paths: set[str]) -> None:
    assert of(SecretStore, {"url": URL, "login": TOKEN, **more}) == paths


def test_what_each_needs_is_named() -> None:
    assert named(Secret, {"source": VAULT}) == {"spec.source.store": "SecretStore/s"}
    assert named(Secret, {"source": FILE}) == {}
    assert named(SecretStore, {"url": URL, "login": TOKEN}) == {"spec.login.token": "Secret/t"}
    approle = {"type": "approle", "role_id": "r", "secret_id": "s"}
    assert named(SecretStore, {"url": URL, "login": approle}) == {"spec.login.secret_id": "Secret/s"}
    assert named(SecretStore, {"url": URL, "login": {"type": "approle", "role_id": "r"}}) == {}
    kubernetes = {"type": "kubernetes", "role": "r", "jwt": "j"}
    assert named(SecretStore, {"url": URL, "login": kubernetes}) == {"spec.login.jwt": "Secret/j"}


def test_another_place_is_another_source_and_another_description_is_not() -> None:
    one, same, other = (
        source_mark(msgspec.convert(spec, Secret))
        for spec in ({"source": FILE}, {"source": FILE, "description": "x"}, {"source": {**FILE, "path": "b"}})
    )
    assert one == same != other
