"""Writes what comes on standard input to a file, and begins another before the file grows too large. Run as a file.

    python -I -S log_keeper.py PATH MAX_BYTES FILES

FILES are kept: PATH is the newest, PATH.1 the one before it, and so on. A program of its own and not a thread of
`toolgate up`: whoever writes must never wait because that is stopped, or lose its last lines because that was killed.
It ends when the last writer has closed its end. What the disk has no room for is dropped, never waited for, and said.
Standard library only.
"""

import os
import signal
import sys

_CHUNK_BYTES = 64 * 1024


class Log:
    """The newest file, and the older ones behind it."""

    def __init__(self, path: str, max_bytes: int, files: int) -> None:
        self._path = path
        self._max = max_bytes
        self._files = files
        self._lost = 0
        self._file = self._open()
        self._size = os.fstat(self._file).st_size

    def write(self, data: bytes) -> None:
        """Cut at the end of a line, unless there is none for too long."""
        while data:
            cut = self._room(data)
            self._append(data[:cut])
            data = data[cut:]
            if self._size >= self._max or data:
                self._rotate()

    def _room(self, data: bytes) -> int:
        """How much of `data` this file still takes."""
        left = self._max - self._size
        if len(data) < left:
            return len(data)
        end = data.find(b"\n", max(0, left - 1))
        if end >= 0:
            return end + 1
        return len(data) if self._size + len(data) < 2 * self._max else max(1, 2 * self._max - self._size)

    def _append(self, data: bytes) -> None:
        try:
            if self._lost:
                note = b"... %d bytes were lost: the disk was full\n" % self._lost
                self._size += os.write(self._file, note)
                self._lost = 0
            while data:
                written = os.write(self._file, data)
                self._size += written
                data = data[written:]
        except OSError:
            self._lost += len(data)

    def _rotate(self) -> None:
        if self._lost:
            return  # There is no room for another one either.
        try:
            for number in range(self._files - 1, 0, -1):
                before = f"{self._path}.{number - 1}" if number > 1 else self._path
                if os.path.exists(before):  # noqa: PTH110 - starts faster without pathlib
                    os.replace(before, f"{self._path}.{number}")  # noqa: PTH105 - the same
            if self._files == 1:
                os.unlink(self._path)  # noqa: PTH108 - the same
            fresh = self._open()
        except OSError:
            return
        os.close(self._file)
        self._file, self._size = fresh, 0

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def main(path: str, max_bytes: int, files: int) -> None:
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(ending, signal.SIG_IGN)
    log = Log(path, max_bytes, files)
    while data := os.read(0, _CHUNK_BYTES):
        log.write(data)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
