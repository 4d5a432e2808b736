"""Parts in a few large files: a part is appended to a pack, and found by where it lies.

A file per part was measured at 0.7 ms each on a disk that others write to as well, since every new name waits for the
file system's journal; appending is 6 us. An entry is: magic, digest, size, CRC-32 of these three, then the bytes.

    parts/00000001.pack, parts/00000002.pack, ...   only the last is appended to
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from core.resource import digest

log = logging.getLogger("toolgate.parts")

MAGIC = b"\x00tgpart1"
ENTRY = Struct("<8s32sQI")
PACK_MAX_BYTES = 64 * 1024 * 1024
SUFFIX = ".pack"
_SCAN_BYTES = 1024 * 1024


class Place(NamedTuple):
    """Where a part's bytes are."""

    pack: int
    offset: int
    size: int


class Packs:
    """Reads, from any process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, pack: int) -> Path:
        return self._folder / f"{pack:08d}{SUFFIX}"

    def read(self, part: bytes, place: Place) -> bytes:
        """The part's bytes. Raises OSError where there are none, ValueError where they were changed."""
        file = os.open(self.path(place.pack), os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(file, place.size, place.offset)
        finally:
            os.close(file)
        if digest(data) != part:
            raise ValueError(f"part {part.hex()}: the file was changed")
        return data


class PackWriter(Packs):
    """The only writer. Knows where every part is."""

    def __init__(self, folder: Path, pack_max_bytes: int = PACK_MAX_BYTES) -> None:
        """Finds what is there; a last entry that was not written whole is cut off. Raises OSError."""
        super().__init__(folder)
        self._max = pack_max_bytes
        self._file = -1
        self.places: dict[bytes, Place] = {}
        packs = sorted(int(path.stem) for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())
        for pack in packs:
            self._end = self._scan(pack)
        self._pack = packs[-1] if packs else 0
        if not packs:
            self._roll()
        else:
            self._file = os.open(self.path(self._pack), os.O_RDWR | os.O_CLOEXEC)
            os.ftruncate(self._file, self._end)

    def close(self) -> None:
        os.close(self._file)

    def append(self, part: bytes, data: bytes) -> None:
        """Keep a part; of two with one digest the later counts. Raises OSError, and then nothing was kept."""
        if self._end and self._end + len(data) > self._max:
            self._roll()
        head = MAGIC + part + len(data).to_bytes(8, "little")
        entry = head + crc32(head).to_bytes(4, "little") + data
        at = self._end
        view = memoryview(entry)
        while view:
            done = os.pwrite(self._file, view, at)
            view, at = view[done:], at + done
        self.places[part] = Place(self._pack, self._end + ENTRY.size, len(data))
        self._end = at

    def collect(self, named: set[bytes], older_than_unix: float) -> int:
        """Forget parts that are not `named`, give back packs that hold mostly such; how many bytes.

        Packs changed since `older_than_unix` are left alone: whoever was told of a place may still read there.
        """
        freed = 0
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            pack = int(path.stem)
            state = path.stat()
            if state.st_mtime >= older_than_unix:
                continue
            # Looked up pack by pack, since what is live moves on into the last one meanwhile.
            kept = [part for part, place in self.places.items() if place.pack == pack and part in named]
            if 2 * sum(self.places[part].size for part in kept) < state.st_size and self._empty(pack, kept):
                freed += state.st_size
        return freed

    def _empty(self, pack: int, kept: list[bytes]) -> bool:
        """Move what is live to the last pack; delete the pack, unless it is the last, once nothing points into it."""
        if pack == self._pack:
            if not self._end or (kept and self._end < self._max // 2):
                return False
            self._roll()
        for part in kept:
            try:
                self.append(part, self.read(part, self.places[part]))
            except ValueError:
                log.exception("a part in force was changed on disk")
                return False
        gone = [part for part, place in self.places.items() if place.pack == pack]
        for part in gone:
            del self.places[part]
        if kept:
            # Workers may have been told of the old places: it is deleted at the next look, with nothing live in it.
            os.utime(self.path(pack))
            return False
        self.path(pack).unlink(missing_ok=True)
        return True

    def _roll(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._pack += 1
        self._end = 0
        self._file = os.open(self.path(self._pack), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def _scan(self, pack: int) -> int:
        """Note every entry; the offset behind the last whole one."""
        with self.path(pack).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            end = 0
            for part, place in _entries(file.fileno(), pack, size):
                self.places[part] = place
                end = place.offset + place.size
        if end < size:
            log.warning("%s: %d bytes at its end are no part", self.path(pack).name, size - end)
        return end


def _entries(file: int, pack: int, size: int) -> Iterator[tuple[bytes, Place]]:
    """Whole entries in order; what is between them and unreadable is passed over."""
    at = 0
    while at + ENTRY.size <= size:
        head = os.pread(file, ENTRY.size, at)
        magic, part, length, check = ENTRY.unpack(head)
        if magic == MAGIC and check == crc32(head[:-4]):
            start = at + ENTRY.size
            if start + length > size:
                return
            yield part, Place(pack, start, length)
            at = start + length
        else:
            at = _next(file, at + 1, size)


def _next(file: int, at: int, size: int) -> int:
    """Offset of the next magic, or the end."""
    while at < size:
        data = os.pread(file, _SCAN_BYTES, at)
        found = data.find(MAGIC)
        if found >= 0:
            return at + found
        at += max(1, len(data) - len(MAGIC))
    return size
