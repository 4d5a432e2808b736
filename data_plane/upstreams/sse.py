"""Server-sent events, sans-I/O: bytes in whatever pieces they come, events out (WHATWG HTML, "Server-sent events")."""

from collections.abc import Iterator
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """A dispatched event. `data` is its lines joined by newlines; an event without data is not dispatched."""

    data: bytes
    event: bytes = b"message"


class TooLongError(Exception):
    """One event is longer than the cap."""


class EventParser:
    """Feed it bytes; it keeps at most one unfinished event, of `max_bytes`."""

    def __init__(self, max_bytes: int, last_id: str = "") -> None:
        """`last_id`: of the stream this one takes up again."""
        self.max_bytes = max_bytes
        """May be raised at any time."""
        self._pending: list[bytes] = []
        """Pieces of an unfinished line: joined once, however finely the stream is cut."""
        self._pending_bytes = 0
        self._after_cr = False
        self._at_start = True
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = b""
        self._id_seen: str | None = None
        self.last_id = last_id
        """Of the last event dispatched or primed; empty: none."""
        self.retry_ms: int | None = None

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Events completed by this chunk. Raises TooLongError, after which the parser is of no use."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        if chunk.endswith(b"\r"):
            self._after_cr = True
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            yield from self._line(self._joined(line))
        if rest:
            self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        self._pending.append(piece)
        self._pending_bytes += len(piece)
        if self._pending_bytes + self._data_bytes > self.max_bytes:
            raise TooLongError

    def _joined(self, end: bytes) -> bytes:
        if not self._pending:
            return end
        self._keep(end)
        line = b"".join(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        return line

    def _line(self, line: bytes) -> Iterator[Event]:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            yield from self._dispatch()
            return
        name, _, value = line.partition(b":")
        self._field(name, value.removeprefix(b" "))

    def _field(self, name: bytes, value: bytes) -> None:
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
            if self._data_bytes > self.max_bytes:
                raise TooLongError
        elif name == b"event":
            self._event = value
        elif name == b"id" and b"\0" not in value and value.isascii():
            self._id_seen = value.decode("ascii")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry_ms = int(value)

    def _dispatch(self) -> Iterator[Event]:
        if self._id_seen is not None:
            self.last_id, self._id_seen = self._id_seen, None
        data, event = self._data, self._event
        self._data, self._data_bytes, self._event = [], 0, b""
        if data:
            yield Event(b"\n".join(data), event or b"message")
