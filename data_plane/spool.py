"""The record spool: a worker's records in mapped memory that outlives it, until the supervisor has shipped them.

A segment is a file of fixed size, mapped shared: appending is a write to memory, no system call, and what is written is
the kernel's to keep even when both processes are killed. The layout, in the machine's own byte order:

    0   magic and version (8 bytes)
    8   committed: offset behind the last whole entry. Written by the worker, after the entry
    16  sealed: 1 once the worker writes to a later segment
    24  dropped: records this worker had no room for, ever
    32  seen: offset up to which the supervisor has counted and logged. Written by the supervisor
    40  acked: offset up to which records are shipped and acknowledged. Written by the supervisor
    64  entries: length (u32), CRC-32 of the bytes (u32), the bytes

The owner holds an advisory lock on its open segment, so that a segment without a holder is a dead worker's.
"""

import fcntl
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from zlib import crc32

MAGIC = b"tgspool1"
HEADER_BYTES = 64
COMMITTED, SEALED, DROPPED, SEEN, ACKED = 1, 2, 3, 4, 5
"""Header words, by index of eight bytes."""
ENTRY = Struct("=II")
SEED = 1
"""Of the CRC, so that zeros, which is what was never written, are no entry of length zero."""
SEGMENT_BYTES = 1024 * 1024
"""Small, since mapped pages count as the worker's memory; a new one every 3,500 calls or so."""
RECORD_MAX_BYTES = 64 * 1024
SUFFIX = ".seg"
_RETRY_S = 0.05
"""A full spool is looked at again after this long, not on every call."""


class Spool:
    """The writing end, one per worker process."""

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        segment_bytes: int = SEGMENT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_bytes`: of all workers' segments in `folder`; the last one is kept for records that must not be lost.

        Raises OSError where not even the first segment can be made.
        """
        self._folder = folder
        self._max_segments = max(2, max_bytes // segment_bytes)
        self._size = segment_bytes
        self._clock = clock
        self._made = 0
        self._retry_at = 0.0
        self._dropped = 0
        self._reserved = False
        """Whether the open segment is the one kept for records that must not be lost."""
        self._end = HEADER_BYTES
        self._open()

    def append(self, record: bytes, *, required: bool = False) -> bool:
        """Keep a record; False when there is no room and it is dropped and counted.

        `required`: of a call that was admitted because there was room; it may use the reserve.
        """
        size = len(record)
        start = self._end + 8
        end = start + size
        if end > self._size or (self._reserved and not required):
            if size > RECORD_MAX_BYTES or not self._roll(required=required):
                self._dropped += 1
                self._words[DROPPED] = self._dropped
                return False
            start = self._end + 8
            end = start + size
        ENTRY.pack_into(self._map, start - 8, size, crc32(record, SEED))
        self._map[start:end] = record
        self._words[COMMITTED] = self._end = end
        return True

    def has_room(self) -> bool:
        """Whether the records of calls admitted now will be kept."""
        enough = not self._reserved and self._size - self._end > RECORD_MAX_BYTES
        return enough or self._roll(required=False)

    def close(self) -> None:
        self._words[SEALED] = 1
        self._release()

    def _roll(self, *, required: bool) -> bool:
        """Go on in a new segment; False when there may be none."""
        now = self._clock()
        if now < self._retry_at and not required:
            return False
        taken = sum(1 for name in os.listdir(self._folder) if name.endswith(SUFFIX))  # noqa: PTH208 - faster
        if self._words[ACKED] >= self._end:
            # The open segment has nothing to wait for: it is deleted as soon as it is left.
            taken -= 1
        reserved = taken >= self._max_segments - 1
        if taken >= self._max_segments or (reserved and not required):
            self._retry_at = now + _RETRY_S
            return False
        old_words, old_map, old_file = self._words, self._map, self._file
        try:
            self._open()
        except OSError:
            # No space on the device: the old segment stays the open one.
            self._retry_at = now + _RETRY_S
            return False
        self._reserved = reserved
        old_words[SEALED] = 1
        _unmap(old_words, old_map, old_file)
        return True

    def _open(self) -> None:
        self._made += 1
        path = self._folder / f"{time.time_ns():020d}-{os.getpid()}-{self._made}{SUFFIX}"
        hidden = path.with_suffix(".new")
        file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Really allocated: writing to a hole of a full file system would kill the process with SIGBUS.
            os.posix_fallocate(file, 0, self._size)
            fcntl.flock(file, fcntl.LOCK_EX)
            mapped = mmap.mmap(file, self._size, mmap.MAP_SHARED)
        except OSError:
            os.close(file)
            hidden.unlink()
            raise
        mapped[0:8] = MAGIC
        self._file, self._map, self._words = file, mapped, memoryview(mapped)[:HEADER_BYTES].cast("Q")
        self._end = HEADER_BYTES
        for word in (COMMITTED, SEEN, ACKED):
            self._words[word] = HEADER_BYTES
        self._words[DROPPED] = self._dropped
        hidden.rename(path)

    def _release(self) -> None:
        _unmap(self._words, self._map, self._file)


def _unmap(words: memoryview, mapped: mmap.mmap, file: int) -> None:
    words.release()
    mapped.close()
    os.close(file)


class Segment:
    """The reading end of one segment, in the supervisor."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError for what is no segment, OSError."""
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self.size = os.fstat(self._file).st_size
            if self.size < HEADER_BYTES or os.pread(self._file, 8, 0) != MAGIC:
                raise ValueError(f"{path.name} is no spool segment")  # noqa: TRY301 - closed below
            # The header alone is mapped; entries are read through the page cache, so a backlog costs no memory.
            self._map = mmap.mmap(self._file, min(mmap.PAGESIZE, self.size))
        except (OSError, ValueError):
            os.close(self._file)
            raise
        self._words = memoryview(self._map)[:HEADER_BYTES].cast("Q")
        self.broken = False
        """An entry could not be read, so nothing behind it can be: what is left is lost, and was counted."""
        self._sound = 0
        """Up to here entries were compared with their sums: each is read twice, to be told of and to be shipped."""

    @property
    def committed(self) -> int:
        return min(self._words[COMMITTED], self.size)

    @property
    def seen(self) -> int:
        return min(max(self._words[SEEN], HEADER_BYTES), self.size)

    @seen.setter
    def seen(self, offset: int) -> None:
        self._words[SEEN] = offset

    @property
    def acked(self) -> int:
        return min(max(self._words[ACKED], HEADER_BYTES), self.size)

    @acked.setter
    def acked(self, offset: int) -> None:
        self._words[ACKED] = offset

    @property
    def dropped(self) -> int:
        return self._words[DROPPED]

    def finished(self) -> bool:
        """Whether nothing will be appended any more: sealed, or its owner is dead."""
        if self._words[SEALED]:
            return True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._words[SEALED] = 1
        return True

    def read(self, start: int, max_bytes: int) -> tuple[list[bytes], int]:
        """Whole records from offset `start` on, at least one if there is one, and the offset behind them."""
        committed = self.committed
        if start >= committed or self.broken:
            return [], start
        want = min(committed - start, max(max_bytes, RECORD_MAX_BYTES + ENTRY.size))
        data = os.pread(self._file, want, start)
        records: list[bytes] = []
        at = 0
        while at + ENTRY.size <= len(data):
            size, check = ENTRY.unpack_from(data, at)
            end = at + ENTRY.size + size
            if size > RECORD_MAX_BYTES or start + end > committed:
                self.broken = bool(self._words[SEALED])
                break
            if end > len(data):
                break
            record = data[at + ENTRY.size : end]
            if start + end > self._sound and crc32(record, SEED) != check:
                # Not yet visible to this processor, or torn by a machine that lost power: the next look tells.
                self.broken = bool(self._words[SEALED])
                break
            records.append(record)
            at = end
        self._sound = max(self._sound, start + at)
        return records, start + at

    def close(self) -> None:
        _unmap(self._words, self._map, self._file)

    def delete(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)
