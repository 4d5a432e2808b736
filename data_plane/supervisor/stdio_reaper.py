"""Ends what is left of children's process groups, also when the supervisor itself is killed. Standard library only.

As a module: `members` and `kill`. As a program (`python -I -S stdio_reaper.py`), the last resort: it reads `+PID` and
`-PID` lines, and when its standard input ends (the supervisor is gone, by SIGKILL even) kills what is still listed,
with all descendants. It lives in a session of its own, so nothing that ends the gateway's group ends it first.

A process belongs to a child if it is in the child's session or group, or descends from it. A daemon that has left the
session *and* whose ancestors are all dead cannot be told from anybody's process: only a container holds those.
"""

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress


def members(leaders: Iterable[int]) -> list[tuple[int, int]]:
    """(pid, start time) of all living processes that belong to children with these pids, themselves included."""
    table = dict(_processes())
    wanted = set(leaders)
    found = {pid for pid, (_, group, session, _) in table.items() if wanted & {pid, group, session}}
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


def kill_all(leaders: Iterable[int]) -> None:
    """Until nothing is left: a process may fork while it is looked for."""
    wanted = list(leaders)
    for _ in range(20):
        alive = members(wanted)
        if not alive:
            return
        kill(alive)


def _processes() -> Iterable[tuple[int, tuple[int, int, int, int]]]:
    for name in os.listdir("/proc"):  # noqa: PTH208  the program starts faster without pathlib
        if name.isdigit():
            state = _state(int(name))
            if state is not None:
                yield int(name), state


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
    listed: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        if line.startswith("+"):
            listed.add(pid)
        else:
            listed.discard(pid)
    if listed:
        kill_all(listed)


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    main()
