"""A child process of `toolgate up`: its own process group, a log, and an end that is sure to come."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.failure import AWAY, Failure

POLL_S = 0.05
TAIL_LINES = 20
LOGGED_S = 1.0
"""How long the last words of a child are waited for."""
_LAUNCH = Path(__file__).with_name("child_launch.py")
_KEEPER = Path(__file__).with_name("log_keeper.py")


@dataclass(frozen=True)
class Keep:
    """How much of a child's log is kept: so many files of so many bytes."""

    max_bytes: int = 16 * 1024 * 1024
    files: int = 4


_KEEP = Keep()


class Child:
    """A program started at once, told to stop when this process is gone. `name` is for people, `log` is appended to.

    `command` is what `again` will run: it may be replaced meanwhile.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], keep: Keep = _KEEP
    ) -> None:
        self.name = name
        self.command = command
        self.log = log
        self._environment = dict(environment)
        self._keep = keep
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as before:
            self._start_of_log = before.tell()
            self._first_log = os.fstat(before.fileno()).st_ino
        keep = self._keep
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_KEEPER), str(self.log), str(keep.max_bytes), str(keep.files)],
            stdin=subprocess.PIPE,
            env={},
            start_new_session=True,
        )
        assert self._keeper.stdin is not None
        self._out = self._keeper.stdin
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), *self.command],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._out,
            env=self._environment,
            process_group=0,
        )

    def again(self) -> None:
        """Start it anew after its end. Nothing of the one that ended is left."""
        self.stop(0)
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit(self) -> str:
        """How it ended, in words; empty while it runs.

        The process is left unreaped until `stop`: its number, which names its group too, is not given to another.
        """
        end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if end is None:
            return ""
        if end.si_code == os.CLD_EXITED:
            return f"exit code {end.si_status}"
        return f"signal {signal.Signals(end.si_status).name}"

    def check(self) -> None:
        """Raises Failure with the last lines of the log if it has ended."""
        if self.exit:
            text = f"the {self.name} ended with {self.exit}; the end of {self.log}:"
            raise Failure(AWAY, text, [f"  {line}" for line in self.tail()])

    def tail(self) -> list[str]:
        """The last lines it wrote since it was started."""
        self._await_logged()
        with self.log.open("rb") as log:
            start = self._start_of_log if os.fstat(log.fileno()).st_ino == self._first_log else 0
            log.seek(max(start, log.seek(0, os.SEEK_END) - 16384))
            return log.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:]

    def _await_logged(self) -> None:
        """Until what it wrote so far is in the file: nothing waits in the pipe, and what was taken out is written."""
        if self._out.closed:
            return
        deadline = time.monotonic() + LOGGED_S
        while _waiting_bytes(self._out.fileno()) and time.monotonic() < deadline:
            time.sleep(POLL_S / 10)
        time.sleep(POLL_S / 2)

    def stop(self, grace_s: float) -> None:
        """SIGTERM, wait, then SIGKILL to the whole group: nothing of it is left."""
        if self._process.returncode is not None:
            return
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while not self.exit and time.monotonic() < deadline:
            time.sleep(POLL_S)
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._out.close()
        try:
            self._keeper.wait(LOGGED_S)
        except subprocess.TimeoutExpired:
            return  # Somebody who left the group writes on; the log ends with them.


def _waiting_bytes(pipe: int) -> int:
    """What nobody has read out of a pipe yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def await_ready(children: Sequence[Child], ready: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Until `ready()`. Raises Failure when a child ends meanwhile, or the time is up."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            raise Failure(
                AWAY,
                f"{what} is not ready after {timeout_s:.0f} s; the end of {children[-1].log}:",
                [f"  {line}" for line in children[-1].tail()],
            )
        time.sleep(POLL_S)


def await_end(children: Sequence[Child]) -> Child:
    """The first child to end. A signal handler's exception ends the wait."""
    descriptors = {os.pidfd_open(child.pid): child for child in children}
    try:
        import select

        poll = select.poll()
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        return descriptors[poll.poll()[0][0]]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
