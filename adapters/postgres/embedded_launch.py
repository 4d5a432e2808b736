"""Becomes the PostgreSQL server, after tying it to the process that wants it. Run as a file: standard library only.

    python -I -S embedded_launch.py PARENT UID GID PROGRAM [ARG...]

A program and not a `preexec_fn`: between fork and exec, code of a process with threads (gRPC has some) may crash. The
user is changed here, before the tie, which changing the user would undo; -1 keeps the own.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, uid, gid = (int(text) for text in arguments[:3])
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # SIGINT is PostgreSQL's fast shutdown.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the process that wanted a server is gone")
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    os.execv(arguments[3], arguments[3:])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
