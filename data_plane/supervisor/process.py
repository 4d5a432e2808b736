"""One worker process: started with what it inherits, noticed the moment it ends."""

import asyncio
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

PR_SET_PDEATHSIG = 1
M_ARENA_MAX = -8
M_TRIM_THRESHOLD = -1


class Process:
    """A child with a pid descriptor: its end is an event, and its pid cannot be mistaken for another's."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
        self.pid = child.pid
        self._fd = os.pidfd_open(child.pid)
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The return code: minus the signal's number for a killed one."""
        asyncio.get_running_loop().add_reader(self._fd, self._reap)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if not self.ended.done():
            signal.pidfd_send_signal(self._fd, number)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        self.ended.set_result(self._child.wait())


def start(
    words: Sequence[str], settings: bytes, inherited: list[socket.socket], environment: Mapping[str, str]
) -> Process:
    """Run `python <words> <own pid>`, a fresh interpreter, with `settings` on its standard input.

    `settings` must fit a pipe's buffer (64 KiB), so that writing them waits for nobody. Raises OSError.
    """
    child = subprocess.Popen(
        [sys.executable, *words, str(os.getpid())],
        stdin=subprocess.PIPE,
        pass_fds=[sock.fileno() for sock in inherited],
        env=dict(environment),
    )
    assert child.stdin is not None
    try:
        child.stdin.write(settings)
        child.stdin.close()
    except BrokenPipeError:
        # It died at once; its end is reported like any other.
        pass
    return Process(child)


def die_with(parent: int) -> None:
    """In a child: be killed when the parent dies, however it dies. Exits if it is dead already."""
    _libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(70)


def spare_memory() -> None:
    """Two allocator arenas instead of eight per core, and freed memory given back sooner; glibc only."""
    try:
        mallopt = _libc().mallopt
    except AttributeError:
        return
    mallopt(M_ARENA_MAX, 2)
    mallopt(M_TRIM_THRESHOLD, 1024 * 1024)


def raise_file_limit() -> None:
    """As many open files as the system lets us have: connections, spool segments and children need them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def rss_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:  # noqa: PTH123 - read at every scrape
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
