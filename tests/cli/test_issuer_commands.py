"""Commands about a tenant's own authorization server, and who signs in there."""

import io
from pathlib import Path

import pytest

from tests.cli.conftest import Toolgate


async def test_a_users_password_is_read_from_stdin_and_taken_away(
    toolgate: Toolgate, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await toolgate("apply", "-f", str(manifest))
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    assert (await toolgate("user", "password", "ada", "--email-verified")).out == "User/ada has a new password\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    refused = await toolgate("user", "password", "ada")
    assert (refused.code, "password: must be 12-1024 letters" in refused.err) == (2, True)
    assert (await toolgate("user", "password", "ada", "--clear")).out == "User/ada has no password\n"
    rows = (await toolgate("audit", "list", "-o", "json")).json()["entries"]
    assert [row["outcome"] for row in rows][:2] == ["password cleared", "password set"]  # type: ignore[index, attr-defined]


async def test_scopes_nobody_can_be_granted_are_told_when_they_are_demanded(
    toolgate: Toolgate, manifest: Path, tmp_path: Path
) -> None:
    await toolgate("apply", "-f", str(manifest))
    more = tmp_path / "more.yaml"
    more.write_text(
        "{kind: AuthorizationServer, name: default, spec: {scopes: {mcp: Use it}}}\n---\n"
        "{kind: Endpoint, name: guarded, spec: {members: [], scopes: [mcp, refunds]}}\n"
    )
    done = await toolgate("apply", "-f", str(more))
    assert done.code == 0
    assert "Endpoint/guarded demands scopes no token" in done.err, done.err
    assert ": refunds (its" in done.err


async def test_an_issuers_keys_are_rotated(toolgate: Toolgate, manifest: Path, tmp_path: Path) -> None:
    await toolgate("apply", "-f", str(manifest))
    assert (await toolgate("issuer", "rotate-keys")).code == 3
    (tmp_path / "as.yaml").write_text("{kind: AuthorizationServer, name: default, spec: {}}")
    await toolgate("apply", "-f", str(tmp_path / "as.yaml"))
    assert "signs tokens in ten minutes" in (await toolgate("issuer", "rotate-keys")).out
