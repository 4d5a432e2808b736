"""Files that audit sinks write: `<folder>/<tenant>/<sink>.<format>`, and `.1`, `.2`, ... of them, the newest first.

A sink has one writer at a time, whichever replica of the control plane that is; what replicas write is one file only
where they share the folder.
"""

import asyncio
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.audit_sink import FileTo, Place
from core.resource import NAME
from core.web import Unreachable

_SUFFIX = {"jsonl": "jsonl", "ocsf": "ocsf.jsonl", "cef": "cef"}
_LOOKED_AT = 64 * 1024


class SinkFiles:
    """Implements `core.audit_sink.LineFiles`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def append(self, place: Place, to: FileTo, lines: bytes) -> None:
        if not NAME.fullmatch(place.tenant) or not NAME.fullmatch(place.name):
            raise ValueError(f"{place.tenant}/{place.name} is no sink")
        try:
            await asyncio.to_thread(self._append, place, to, lines)
        except OSError as failure:
            raise Unreachable(f"{place.tenant}/{place.name}: {failure.strerror}") from failure

    def _append(self, place: Place, to: FileTo, lines: bytes) -> None:
        name = f"{place.name}.{_SUFFIX[to.format]}"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened(self._folder, os.O_DIRECTORY) as top:
            with suppress(FileExistsError):
                os.mkdir(place.tenant, 0o700, dir_fd=top)
            # Of what lies below the folder no link is followed: nothing written here ends up elsewhere.
            with _opened(place.tenant, os.O_DIRECTORY | os.O_NOFOLLOW, top) as folder:
                with _file(name, folder) as file:
                    size = _whole(file)
                    if size == 0 or size + len(lines) <= to.rotate_mib * 2**20:
                        _write(file, lines, size)
                        os.fsync(folder)
                        return
                _rotate(name, to.keep, folder)
                with _file(name, folder) as file:
                    _write(file, lines, 0)
                os.fsync(folder)


@contextmanager
def _opened(path: Path | str, flags: int, within: int | None = None) -> Iterator[int]:
    opened = os.open(path, flags | os.O_CLOEXEC, 0o600, dir_fd=within)
    try:
        yield opened
    finally:
        os.close(opened)


@contextmanager
def _file(name: str, folder: int) -> Iterator[int]:
    with _opened(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, folder) as file:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(0, "it is no regular file")
        yield file


def _whole(file: int) -> int:
    """Its size up to the end of the last whole line: half of one is of a writer that died, and is written again."""
    size = os.fstat(file).st_size
    while size:
        begin = max(0, size - _LOOKED_AT)
        end = os.pread(file, size - begin, begin).rfind(b"\n")
        if end >= 0:
            size = begin + end + 1
            break
        size = begin
    os.ftruncate(file, size)
    return size


def _write(file: int, lines: bytes, size: int) -> None:
    """All of it, on the disk, or none."""
    try:
        rest, at = memoryview(lines), size
        while rest:
            written = os.pwrite(file, rest, at)
            rest, at = rest[written:], at + written
        os.fsync(file)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


def _rotate(name: str, keep: int, folder: int) -> None:
    """The file becomes the newest of `keep` old ones; the oldest goes."""
    if not keep:
        os.unlink(name, dir_fd=folder)
        return
    with suppress(FileNotFoundError):
        os.unlink(f"{name}.{keep}", dir_fd=folder)
    for number in range(keep - 1, 0, -1):
        with suppress(FileNotFoundError):
            os.rename(f"{name}.{number}", f"{name}.{number + 1}", src_dir_fd=folder, dst_dir_fd=folder)
    os.rename(name, f"{name}.1", src_dir_fd=folder, dst_dir_fd=folder)
