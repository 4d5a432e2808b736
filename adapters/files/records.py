"""Records appended to a file, one JSON object per line."""

import asyncio
import os
from pathlib import Path

import msgspec

from core.call import Record, RecordsAway


class RecordFile:
    """A Records. A record shipped twice is on two lines with one id: readers go by the id."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decode = msgspec.msgpack.Decoder(Record).decode
        self._encode = msgspec.json.Encoder().encode

    async def ship(self, records: list[bytes]) -> None:
        lines = b"".join(self._encode(msgspec.to_builtins(self._named(record))) + b"\n" for record in records)
        await asyncio.to_thread(self._append, lines)

    def _named(self, record: bytes) -> dict[str, object]:
        """With the fields' names, which the compact form leaves out."""
        decoded = self._decode(record)
        return {name: getattr(decoded, name) for name in decoded.__struct_fields__}

    def _append(self, lines: bytes) -> None:
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                before = os.fstat(file).st_size
                view = memoryview(lines)
                try:
                    while view:
                        view = view[os.write(file, view) :]
                    os.fsync(file)
                except OSError:
                    # Half a batch would be followed by the whole one: take it back.
                    os.ftruncate(file, before)
                    raise
            finally:
                os.close(file)
        except OSError as failure:
            raise RecordsAway(f"{self._path}: {failure.strerror}") from failure
