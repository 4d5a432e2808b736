"""Becomes a plane's process, after tying it to `toolgate up`. Run as a file: standard library only.

    python -I -S child_launch.py PARENT PROGRAM [ARG...]

A program and not a `preexec_fn`: a fork of a process that has spoken gRPC may never reach its exec.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(arguments[0]):
        sys.exit("the process that wanted this one is gone")
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    os.execvp(arguments[1], arguments[1:])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
