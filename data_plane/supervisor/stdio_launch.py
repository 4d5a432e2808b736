"""Becomes the server's program, after tying it to the gateway and limiting it. Run as a file: standard library only.

    python -I -S stdio_launch.py PARENT CPU_S MEMORY_MIB MAX_FILES KEEP_LC_CTYPE PROGRAM [ARG...]

A program and not a `preexec_fn`: between fork and exec, code of a process with threads may deadlock, and the supervisor
has threads (gRPC, name lookups). Memory is limited as data (RLIMIT_DATA), not as address space: JavaScript and WASM
engines reserve many gigabytes of address space that they never touch. All limits are per process, and inherited.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
CANNOT_RUN = 127
"""As shells say that there is no such command."""
_CPU_GRACE_S = 5
"""Between SIGXCPU, which a program may handle, and SIGKILL."""


def main(arguments: list[str]) -> None:
    parent, cpu_s, memory_mib, max_files, keep_lc_ctype = (int(text) for text in arguments[:5])
    program = arguments[5:]
    _die_with(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_NOFILE, max_files, max_files)
    _limit(resource.RLIMIT_DATA, memory_mib << 20, memory_mib << 20)
    if cpu_s:
        _limit(resource.RLIMIT_CPU, cpu_s, cpu_s + _CPU_GRACE_S)
    _undo_interpreter(keep_lc_ctype=bool(keep_lc_ctype))
    try:
        os.execvp(program[0], program)  # noqa: S606  the tenant's own command, without a shell
    except OSError as failure:
        sys.stderr.write(f"cannot run {program[0]}: {failure.strerror}\n")
        raise SystemExit(CANNOT_RUN) from None


def _die_with(parent: int) -> None:
    """SIGKILL when the supervisor dies, however it dies; at once if it died before this line."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(CANNOT_RUN)


def _limit(which: int, soft: int, hard: int) -> None:
    """Never above what the supervisor itself is held to."""
    _, ceiling = resource.getrlimit(which)
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(which, (soft, hard))


def _undo_interpreter(*, keep_lc_ctype: bool) -> None:
    """Python ignores some signals and may set LC_CTYPE, and the program would inherit both."""
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if not keep_lc_ctype:
        os.environ.pop("LC_CTYPE", None)


if __name__ == "__main__":
    main(sys.argv[1:])
