"""The control plane's settings: where they come from and what is wrong with them."""

from pathlib import Path

import pytest

from control_plane import keyfiles
from control_plane.keyfiles import KeyFileRefused
from control_plane.settings import read
from core.options import SettingsRejected


def problems(arguments: list[str], environment: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsRejected) as caught:
        read(arguments, environment)
    return caught.value.problems


def test_a_flag_wins_over_its_variable_and_that_over_the_default() -> None:
    assert read([], {}).admin_port == 8081
    assert read([], {"TOOLGATE_ADMIN_PORT": "1"}).admin_port == 1
    assert read(["--admin-port", "2"], {"TOOLGATE_ADMIN_PORT": "1"}).admin_port == 2


def test_every_problem_is_told_at_once_with_where_it_came_from() -> None:
    environment = {
        "TOOLGATE_GRPC_PORT": "70000",
        "TOOLGATE_KEK": "short",
        "TOOLGATE_DATABASE_URL": "mysql://x",
        "TOOLGATE_TLS_CERT_FILE": "/nowhere/cert.pem",
    }
    found = problems(["--log-level", "loud"], environment)
    starts = ["--log-level: ", "TOOLGATE_DATABASE_URL: ", "TOOLGATE_GRPC_PORT: ", "TOOLGATE_KEK: "]
    assert [next((s for s in starts if line.startswith(s)), None) for line in sorted(found)[:4]] == starts
    assert any(line.startswith("TOOLGATE_TLS_CERT_FILE and TOOLGATE_TLS_KEY_FILE") for line in found)
    assert any("/nowhere/cert.pem is no file" in line for line in found)


def test_a_secret_cannot_be_given_as_a_flag_and_is_not_shown_by_a_problem() -> None:
    with pytest.raises(SystemExit):
        read(["--kek", "00" * 32], {})
    assert "deadbeef" not in " ".join(problems([], {"TOOLGATE_KEK": "deadbeef"}))


def test_two_servers_cannot_share_a_port() -> None:
    assert problems(["--admin-port", "9", "--grpc-port", "9"], {}) == (
        "TOOLGATE_ADMIN_PORT and TOOLGATE_GRPC_PORT: must differ",
    )
    assert read(["--admin-port", "0", "--grpc-port", "0"], {}).grpc_port == 0


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    made = tmp_path / "keys" / "kek.key"
    first = keyfiles.key(None, None, made)
    assert keyfiles.key(None, None, made) == first
    assert made.stat().st_mode & 0o777 == 0o600
    assert len(first) == 32
    assert keyfiles.key(b"g" * 32, None, made) == b"g" * 32


def test_a_key_file_that_others_may_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("11" * 32)
    file.chmod(0o644)
    with pytest.raises(KeyFileRefused, match="others may read it"):
        keyfiles.key(None, file, tmp_path / "unused")
    file.chmod(0o600)
    assert keyfiles.key(None, file, tmp_path / "unused") == b"\x11" * 32
    file.write_text("11" * 31)
    with pytest.raises(KeyFileRefused, match="32 bytes"):
        keyfiles.key(None, file, tmp_path / "unused")
    with pytest.raises(KeyFileRefused, match="cannot be read"):
        keyfiles.key(None, tmp_path / "none", tmp_path / "unused")
