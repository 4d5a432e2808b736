"""Files of audit sinks: whole lines, on the disk, put aside at a size, and nowhere but below their folder."""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.files.sinks import SinkFiles
from core.audit_sink import AuditSink, FileTo, Place
from core.web import Unreachable

MIB = 2**20


def place(to: FileTo, name: str = "siem", tenant: str = "acme") -> Place:
    return Place(tenant=tenant, name=name, spec=AuditSink(to=to), seq=0, failures=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sinks"


async def append(folder: Path, lines: bytes, to: FileTo | None = None, **who: str) -> None:
    wanted = to or FileTo()
    await SinkFiles(folder).append(place(wanted, **who), wanted, lines)


async def test_lines_are_appended_for_each_tenant_and_sink_apart_and_for_the_owner_alone(folder: Path) -> None:
    await append(folder, b"1\n2\n")
    await append(folder, b"3\n")
    await append(folder, b"4\n", name="other")
    await append(folder, b"5\n", tenant="globex")
    await append(folder, b"6\n", FileTo(format="cef"))
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {
        "acme/siem.jsonl": b"1\n2\n3\n",
        "acme/other.jsonl": b"4\n",
        "globex/siem.jsonl": b"5\n",
        "acme/siem.cef": b"6\n",
    }
    assert {oct(path.stat().st_mode & 0o777) for path in folder.rglob("*") if path.is_file()} == {"0o600"}
    assert oct((folder / "acme").stat().st_mode & 0o777) == "0o700"


async def test_a_full_file_is_put_aside_and_the_oldest_goes(folder: Path) -> None:
    to = FileTo(rotate_mib=1, keep=2)
    for number in range(5):
        await append(folder, b"%d" % number * 700_000 + b"\n", to)
    kept = {path.name: path.read_bytes()[:1] for path in (folder / "acme").iterdir()}
    assert kept == {"siem.jsonl": b"4", "siem.jsonl.1": b"3", "siem.jsonl.2": b"2"}
    await append(folder, b"5" * 700_000 + b"\n", FileTo(rotate_mib=1, keep=0))
    assert (folder / "acme/siem.jsonl").read_bytes()[:1] == b"5"


async def test_a_batch_larger_than_a_file_may_be_is_written_all_the_same(folder: Path) -> None:
    await append(folder, b"x" * 2 * MIB + b"\n", FileTo(rotate_mib=1))
    assert (folder / "acme/siem.jsonl").stat().st_size == 2 * MIB + 1


@pytest.mark.parametrize("rest", [b"half a li", b"x" * 200_000])
async def test_half_a_line_of_a_writer_that_died_is_taken_away(folder: Path, rest: bytes) -> None:
    await append(folder, b"whole\n")
    path = folder / "acme/siem.jsonl"
    path.write_bytes(path.read_bytes() + rest)
    await append(folder, b"next\n")
    assert path.read_bytes() == b"whole\nnext\n"
    path.write_bytes(rest)
    await append(folder, b"first\n")
    assert path.read_bytes() == b"first\n"


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As if the disk were full then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


async def test_what_does_not_fit_on_the_disk_leaves_nothing_of_itself(folder: Path) -> None:
    await append(folder, b"before\n")
    with files_of_at_most(4_096), pytest.raises(Unreachable, match="acme/siem"):
        await append(folder, b"x" * 10_000 + b"\n")
    assert (folder / "acme/siem.jsonl").read_bytes() == b"before\n"
    await append(folder, b"after\n")
    assert (folder / "acme/siem.jsonl").read_bytes() == b"before\nafter\n"


async def test_no_link_leads_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"mine\n")
    folder.mkdir()
    (folder / "acme").symlink_to(outside)
    (folder / "globex").mkdir()
    (folder / "globex/siem.jsonl").symlink_to(outside / "victim")
    os.mkfifo(folder / "globex/pipe.jsonl")
    for tenant, name in (("acme", "siem"), ("globex", "siem"), ("globex", "pipe")):
        with pytest.raises(Unreachable):
            await append(folder, b"x\n", tenant=tenant, name=name)
    assert [(path.name, path.read_bytes()) for path in outside.iterdir()] == [("victim", b"mine\n")]


@pytest.mark.parametrize("name", ["..", "a/b", "", "../../x", ".hidden"])
async def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    for who in ({"name": name}, {"tenant": name}):
        with pytest.raises(ValueError, match="is no sink"):
            await append(folder, b"x\n", **who)
    assert not folder.exists()
