"""Ends what is left of children's process groups, also when the supervisor itself is killed. Standard library only.

As a module: `members` and `kill`. As a program (`python -I -S stdio_reaper.py`), the last resort: it reads `+PID MARK`
and `-PID` lines, and when its standard input ends (the supervisor is gone, by SIGKILL even) kills what is still listed,
with all that belongs to it. It lives in a session of its own, so nothing that ends the gateway's group ends it first.

A process belongs to a child if it is in the child's session or group, carries the child's mark in its environment
(which every process inherits, and which outlives its parents), or descends from one that does. A daemon that has left
the session, whose ancestors are all dead *and* that was given a cleared environment cannot be told from anybody's
process: only a container holds those.
"""

import os
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress

MARK = "TOOLGATE_PROCESS"
"""The environment variable whose value, an unguessable one per start, says which child a process belongs to."""
_ENVIRON_MAX_BYTES = 8 * 1024 * 1024

Marks = Mapping[int, str]
"""A child's pid to its mark."""


def members(children: Marks) -> list[tuple[int, int]]:
    """(pid, start time) of all living processes that belong to these children, themselves included."""
    table = dict(_processes())
    wanted = set(children)
    marks = [f"\0{MARK}={mark}\0".encode() for mark in children.values()]
    found = {
        pid
        for pid, (_, group, session, _) in table.items()
        if wanted & {pid, group, session} or _carries_any(pid, marks)
    }
    grown = True
    while grown:
        heirs = {pid for pid, (parent, _, _, _) in table.items() if parent in found and pid not in found}
        found |= heirs
        grown = bool(heirs)
    return [(pid, table[pid][3]) for pid in found]


def kill(processes: Iterable[tuple[int, int]]) -> None:
    """SIGKILL each that is still the process it was: a number may have been given to another since."""
    for pid, started in processes:
        state = _state(pid)
        if state is not None and state[3] == started:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def kill_all(children: Marks) -> None:
    """Until nothing is left: a process may fork while it is looked for."""
    for _ in range(20):
        alive = members(children)
        if not alive:
            return
        kill(alive)


def _processes() -> Iterable[tuple[int, tuple[int, int, int, int]]]:
    for name in os.listdir("/proc"):  # noqa: PTH208  the program starts faster without pathlib
        if name.isdigit():
            state = _state(int(name))
            if state is not None:
                yield int(name), state


def _carries_any(pid: int, marks: Iterable[bytes]) -> bool:
    """False for another user's process as well, whose environment is not ours to read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123  the same
            environ = b"\0" + file.read(_ENVIRON_MAX_BYTES)
    except OSError:
        return False
    return any(mark in environ for mark in marks)


def _state(pid: int) -> tuple[int, int, int, int] | None:
    """Parent, group, session, start time; None for one that is gone or a zombie (proc(5), /proc/pid/stat)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  the same
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[0] in (b"Z", b"X"):
        return None
    return int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19])


def main() -> None:
    listed: dict[int, str] = {}
    for line in sys.stdin:
        pid, _, mark = line[1:].strip().partition(" ")
        if line.startswith("+"):
            listed[int(pid)] = mark
        else:
            listed.pop(int(pid), None)
    if listed:
        kill_all(listed)


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    main()
