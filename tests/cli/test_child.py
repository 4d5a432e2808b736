"""Children of `toolgate up`: they end when told, take their own children along, and never outlive their parent."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli.child import Child, Keep, await_end, await_ready
from cli.failure import AWAY, USAGE, Failure
from cli.up import take_ports, write_private

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(grandchild.pid, flush=True)
time.sleep(600)
"""


def start(tmp_path: Path, program: str) -> Child:
    return Child("thing", [sys.executable, "-c", program], tmp_path / "thing.log", os.environ)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        os.sched_yield()


def test_a_child_that_will_not_stop_is_killed_with_everything_it_started(tmp_path: Path) -> None:
    child = start(tmp_path, STUBBORN)
    until(child.tail, "the grandchild's number")
    grandchild = int(child.tail()[0])
    assert alive(grandchild)
    child.stop(grace_s=0.2)
    until(lambda: not alive(grandchild), "the grandchild to end")
    child.stop(grace_s=0.2)


def test_a_dead_childs_exit_and_last_lines_are_told(tmp_path: Path) -> None:
    (tmp_path / "thing.log").write_text("of an earlier run\n")
    child = start(tmp_path, "print('it broke'); raise SystemExit(3)")
    with pytest.raises(Failure, match="the thing ended with exit code 3") as caught:
        await_ready([child], lambda: False, "the thing", timeout_s=5)
    assert (caught.value.code, caught.value.lines) == (AWAY, ("  it broke",))
    child.stop(1)


def test_a_child_that_never_gets_ready_is_a_failure_with_its_last_lines(tmp_path: Path) -> None:
    child = start(tmp_path, "import time; print('still thinking', flush=True); time.sleep(600)")
    until(child.tail, "its first line")
    with pytest.raises(Failure, match="not ready") as caught:
        await_ready([child], lambda: False, "the thing", timeout_s=0.2)
    assert caught.value.lines == ("  still thinking",)
    child.stop(1)


def test_the_first_child_to_end_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    stays, ends = start(tmp_path, "import time; time.sleep(600)"), start(tmp_path / "b", "pass")
    assert await_end([stays, ends]) is ends
    for child in (stays, ends):
        child.stop(1)


def test_a_child_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\nfrom pathlib import Path\nfrom cli.child import Child\n"
        "sleeper = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        f"child = Child('c', sleeper, Path({str(tmp_path / 'c')!r}), os.environ)\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    until(lambda: not alive(pid), "the child to end")


def test_ports_in_use_are_all_named_and_0_takes_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with ExitStack() as stack, pytest.raises(Failure, match="cannot listen") as caught:
            take_ports({"mcp": port, "admin": 0, "grpc": 70000}, stack)
    assert caught.value.code == USAGE
    assert [line.split(";")[0] for line in caught.value.lines] == [
        f"  --mcp-port {port}: is in use",
        "  --grpc-port 70000: is no port",
    ]
    with ExitStack() as stack:
        found = take_ports({"mcp": 0, "admin": 0}, stack)
    assert len({*found.values(), 0}) == 3


def test_what_is_private_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "connection.json"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)


TALKER = """
import sys
for number in range(20_000):
    sys.stdout.write(f"line {number:06d} {'x' * (number % 83)}\\n")
print("done", flush=True)
"""


def test_a_log_is_cut_into_files_none_too_large_and_no_line_is_lost_or_torn(tmp_path: Path) -> None:
    log = tmp_path / "thing.log"
    log.write_text("line of an earlier run\n")
    keep = Keep(max_bytes=100_000, files=50)
    child = Child("thing", [sys.executable, "-c", TALKER], log, os.environ, keep)
    until(lambda: child.exit, "its end")
    assert child.tail()[-1] == "done"
    child.stop(1)
    files = [log, *sorted(tmp_path.glob("thing.log.*"), key=lambda path: int(path.suffix[1:]))]
    assert len(files) > 10
    assert all(path.stat().st_size <= keep.max_bytes + 200 for path in files)
    lines = "".join(path.read_text() for path in reversed(files)).splitlines()
    expected = [f"line {number:06d} {'x' * (number % 83)}" for number in range(20_000)]
    assert lines == ["line of an earlier run", *expected, "done"]


def test_only_so_many_files_of_a_log_are_kept_the_newest_ones(tmp_path: Path) -> None:
    log = tmp_path / "thing.log"
    child = Child("thing", [sys.executable, "-c", TALKER], log, os.environ, Keep(max_bytes=100_000, files=3))
    until(lambda: child.exit, "its end")
    child.stop(1)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["thing.log", "thing.log.1", "thing.log.2"]
    assert (tmp_path / "thing.log").read_text().endswith("done\n")


def test_a_line_without_end_does_not_get_around_the_cap(tmp_path: Path) -> None:
    endless = "import sys\nfor _ in range(100): sys.stdout.write('x' * 10_000)"
    keep = Keep(max_bytes=50_000, files=2)
    child = Child("thing", [sys.executable, "-c", endless], tmp_path / "thing.log", os.environ, keep)
    until(lambda: child.exit, "its end")
    child.stop(1)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 2 * keep.max_bytes


def test_what_a_child_says_after_its_parent_was_killed_is_in_the_log(tmp_path: Path) -> None:
    last_words = (
        "import signal, sys, time\ndef bye(*_):\n print('bye', flush=True)\n sys.exit()\n"
        "signal.signal(signal.SIGTERM, bye)\nprint('ready', flush=True)\ntime.sleep(600)"
    )
    program = (
        "import os, sys, time\nfrom pathlib import Path\nfrom cli.child import Child\n"
        f"child = Child('c', [sys.executable, '-c', {last_words!r}], Path({str(tmp_path / 'c')!r}), os.environ)\n"
        "while not child.tail(): pass\nprint(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        parent.stdout.readline()
        parent.send_signal(signal.SIGKILL)
    until(lambda: (tmp_path / "c").read_text() == "ready\nbye\n", "its last words")
