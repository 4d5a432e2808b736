"""CPU time and memory of process trees, and children that end with the measurement."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                found += tree(int(child))
        except FileNotFoundError:
            continue
    return found


def cpu_s(pids: list[int]) -> float:
    """User and system seconds spent so far, threads included."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS_PER_S


def rss_mib(pid: int) -> float:
    """Resident set now, MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def pss_mib(pid: int) -> float:
    """Resident set now, MiB, what is shared with others counted in part: for processes that share memory."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


@contextmanager
def child(*command: str, ready: str = "", log: Path | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A child and the first line of its output that starts with `ready`; terminated at the end."""
    errors = log.open("w") if log else subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=subprocess.PIPE if ready else errors, stderr=errors, text=True)
    try:
        line = ""
        while ready and not line.startswith(ready):
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                sys.exit(f"{command[0]} ended before it was ready")
        yield process, line.strip()
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_port(port: int, limit_s: float = 20) -> None:
    """Until something listens on loopback."""
    import socket

    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing listens on {port}")
