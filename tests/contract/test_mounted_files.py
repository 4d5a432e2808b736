"""Files that secrets come from: as Kubernetes mounts them, and nothing outside the tenant's folder."""

import os
from pathlib import Path

import pytest

from adapters.files.mounted import MountedFiles
from core.secret import NoValue


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`acme` with a mount `db`, as the kubelet makes one; `beta` with a file of its own. The folder is a link."""
    real = tmp_path / "real"
    mount = real / "acme" / "db"
    (mount / "..2026_11_20").mkdir(parents=True)
    (mount / "..2026_11_20" / "password").write_text("first\n")
    (mount / "..data").symlink_to("..2026_11_20")
    (mount / "password").symlink_to("..data/password")
    (real / "beta").mkdir()
    (real / "beta" / "key").write_text("beta's own")
    (tmp_path / "outside").write_text("of the machine")
    (tmp_path / "mounted").symlink_to("real")
    return tmp_path / "mounted"


def test_a_mounted_secret_is_read_and_read_anew_when_the_mount_is_replaced(folder: Path) -> None:
    files, mount = MountedFiles(folder), folder / "acme" / "db"
    assert files.read("acme", "db/password") == b"first\n"
    (mount / "..2026_11_21").mkdir()
    (mount / "..2026_11_21" / "password").write_text("second")
    (mount / "..data_tmp").symlink_to("..2026_11_21")
    os.replace(mount / "..data_tmp", mount / "..data")
    assert files.read("acme", "db/password") == b"second"
    assert files.read("beta", "key") == b"beta's own"


@pytest.mark.parametrize("to", ["../beta/key", "../../../outside", "/etc/hostname", "../../beta"])
def test_a_link_leads_nowhere_outside_the_tenants_folder(folder: Path, to: str) -> None:
    (folder / "acme" / "trick").symlink_to(to)
    path = "trick/key" if to.endswith("beta") else "trick"
    with pytest.raises(NoValue) as none:
        MountedFiles(folder).read("acme", path)
    assert not none.value.gone


@pytest.mark.parametrize("path", ["../beta/key", "db/../../beta/key", "/etc/hostname"])
def test_neither_does_a_path_even_if_nobody_had_looked_at_it_before(folder: Path, path: str) -> None:
    with pytest.raises(NoValue, match="leads out"):
        MountedFiles(folder).read("acme", path)


def test_a_tenants_folder_that_is_a_link_is_not_its_own(folder: Path) -> None:
    (folder / "gamma").symlink_to("beta")
    with pytest.raises(NoValue, match="leads out"):
        MountedFiles(folder).read("gamma", "key")


def test_what_is_no_file_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "acme" / "pipe")
    (folder / "acme" / "large").write_bytes(b"x" * (300 * 1024))
    for path, why in (("pipe", "no file"), ("db", "cannot be read|no file"), ("large", "larger"), ("none", "no file")):
        with pytest.raises(NoValue, match=why):
            MountedFiles(folder).read("acme", path)


def test_without_a_folder_nothing_is_read(folder: Path) -> None:
    with pytest.raises(NoValue, match="TOOLGATE_SECRET_FILES"):
        MountedFiles(None).read("acme", "db/password")
    with pytest.raises(NoValue):
        MountedFiles(folder / "nothing").read("acme", "db/password")
