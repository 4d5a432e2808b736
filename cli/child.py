"""A child process of `toolgate up`: its own process group, a log file, and an end that is sure to come."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cli.failure import AWAY, Failure

POLL_S = 0.05
TAIL_LINES = 20
_LAUNCH = Path(__file__).with_name("child_launch.py")


class Child:
    """A program started at once, told to stop when this process is gone. `name` is for people, `log` is appended to."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as out:
            self._start_of_log = out.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(environment),
                process_group=0,
            )

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
        with self.log.open("rb") as log:
            log.seek(max(self._start_of_log, log.seek(0, os.SEEK_END) - 16384))
            return log.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:]

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
