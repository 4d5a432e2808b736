"""Lines of a child's standard output, capped: a line too long is skipped to its end, and whose it was is guessed."""

from collections.abc import Iterator
from typing import NamedTuple

from data_plane.upstreams.jsonrpc import answered_id

_EDGE_BYTES = 256


class Overlong(NamedTuple):
    """A line that was not kept. `id`: of the request it answers, None if that cannot be told."""

    id: int | None


class LineReader:
    """Keeps at most `max_bytes` of an unfinished line; `max_bytes` may be raised at any time."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self._head = b""
        self._tail = b""
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[bytes | Overlong]:
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._add(end)
            line = self._take()
            if line:
                yield line
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        if not piece:
            return
        if not self._skipping:
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size <= self.max_bytes:
                return
            self._skipping = True
            line = b"".join(self._pieces)
            self._pieces.clear()
            self._head, self._tail = line[:_EDGE_BYTES], line[-_EDGE_BYTES:]
        else:
            self._tail = (self._tail + piece)[-_EDGE_BYTES:]

    def _take(self) -> bytes | Overlong:
        if self._skipping:
            self._skipping = False
            self._size = 0
            return Overlong(answered_id(self._head, self._tail))
        line = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return line.strip()
