"""From the spool to where records go: counted and logged once, shipped until acknowledged, then deleted."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from core.call import Record, Records, RecordsAway
from data_plane.spool import HEADER_BYTES, SUFFIX, Segment

log = logging.getLogger("toolgate.records")

LOOK_EVERY_S = 0.1
SHIP_EVERY_S = 0.2
"""A batch that would not be full waits so long for more: what one costs is shared by its records."""
BATCH_RECORDS = 2000
BATCH_BYTES = 768 * 1024
"""A batch is one message of the stream, which is kept below 1 MiB."""
SHIP_WITHIN_S = 30.0
BACKOFF_S = (0.1, 5.0)
_LEFTOVER_S = 60.0

_decode = msgspec.msgpack.Decoder(Record).decode


class RecordPump:
    """All segments of a node, also those of workers that died before this process began."""

    def __init__(self, folder: Path, records: Records, observe: Callable[[Record], None]) -> None:
        """`observe` is told of every record once (after a SIGKILL of this process, of a few perhaps twice)."""
        self._folder = folder
        self._records = records
        self._observe = observe
        self._segments: dict[str, Segment] = {}
        self._unreadable: set[str] = set()
        self._dropped_by: dict[str, int] = {}
        self._waiting = asyncio.Event()
        self.seen = 0
        self.shipped = 0
        self.dropped = 0
        """Records for which a worker had no room."""
        self.lost = 0
        """Segments that ended in an entry nobody can read."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._tidy()

    # === telling of what is new ===

    async def watch(self) -> None:
        """Count and log what comes; for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Tell of everything that was committed until now."""
        self._discover()
        for segment in self._segments.values():
            self._tell(segment)
            self._count_dropped(segment)
            if segment.committed > segment.acked:
                self._waiting.set()

    def _tell(self, segment: Segment) -> None:
        while True:
            records, end = segment.read(segment.seen, BATCH_BYTES)
            observe = self._observe
            for raw in records:
                try:
                    observe(_decode(raw))
                except msgspec.MsgspecError:
                    log.exception("a record in %s cannot be read", segment.path.name)
            self.seen += len(records)
            if not records:
                return
            segment.seen = end

    def _count_dropped(self, segment: Segment) -> None:
        owner = segment.path.name.split("-")[1]
        before, now = self._dropped_by.get(owner, 0), segment.dropped
        if now > before:
            self._dropped_by[owner] = now
            self.dropped += now - before
            log.warning("the spool is full: %d records were dropped, %d in all", now - before, self.dropped)

    def _discover(self) -> None:
        for name in sorted(os.listdir(self._folder)):  # noqa: PTH208 - a quarter of the cost
            if not name.endswith(SUFFIX) or name in self._segments or name in self._unreadable:
                continue
            try:
                self._segments[name] = Segment(self._folder / name)
            except FileNotFoundError:
                continue
            except (OSError, ValueError):
                self._unreadable.add(name)
                log.exception("%s is left where it is", name)

    def _tidy(self) -> None:
        """Segments that were never finished being made."""
        for path in self._folder.glob("*.new"):
            if time.time() - path.stat().st_mtime > _LEFTOVER_S:
                path.unlink(missing_ok=True)

    # === shipping ===

    async def ship(self) -> None:
        """Hand records over as long as there are any, waiting longer each time that fails; for ever."""
        pause_s = BACKOFF_S[0]
        while True:
            await self._waiting.wait()
            try:
                if not await self.ship_once():
                    self._waiting.clear()
                elif self.waiting_bytes < BATCH_BYTES:
                    await asyncio.sleep(SHIP_EVERY_S)
                pause_s = BACKOFF_S[0]
            except RecordsAway as failure:
                log.warning("records stay in the spool: %s; next try in %.1f s", failure, pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, BACKOFF_S[1])

    async def ship_once(self) -> bool:
        """Ship one batch and forget it; False if there was nothing. Raises RecordsAway."""
        batch: list[bytes] = []
        ends: list[tuple[Segment, int]] = []
        room = BATCH_BYTES
        for segment in list(self._segments.values()):
            records, end = segment.read(segment.acked, room)
            if not records:
                self._retire(segment)
                continue
            batch += records
            ends.append((segment, end))
            room -= sum(map(len, records))
            if room <= 0 or len(batch) >= BATCH_RECORDS:
                break
        if not batch:
            return False
        await self._hand_over(batch)
        for segment, end in ends:
            segment.acked = end
            self._retire(segment)
        self.shipped += len(batch)
        return True

    async def _hand_over(self, batch: list[bytes]) -> None:
        try:
            async with asyncio.timeout(SHIP_WITHIN_S):
                await self._records.ship(batch)
        except TimeoutError as failure:
            raise RecordsAway(f"no acknowledgement in {SHIP_WITHIN_S:.0f} s") from failure

    def _retire(self, segment: Segment) -> None:
        """Delete a segment that has nothing left to tell or to ship, and never will."""
        finished = segment.finished()
        if not finished:
            return
        self._tell(segment)
        self._count_dropped(segment)
        if segment.broken:
            self.lost += 1
            log.error(
                "%s ends in what cannot be read; %d bytes are lost",
                segment.path.name,
                segment.committed - segment.acked,
            )
        elif segment.acked < segment.committed:
            return
        del self._segments[segment.path.name]
        segment.delete()

    async def finish(self, within_s: float) -> bool:
        """Workers are gone: ship what is left. False if some had to stay for the next start."""
        try:
            async with asyncio.timeout(within_s):
                self.look()
                while await self.ship_once():
                    pass
        except (TimeoutError, RecordsAway) as failure:
            log.warning("records are left in the spool for the next start: %s", failure or "no time left")
            return False
        return True

    def close(self) -> None:
        for segment in self._segments.values():
            segment.close()
        self._segments.clear()

    # === figures ===

    @property
    def waiting_bytes(self) -> int:
        """Not yet acknowledged."""
        return sum(max(0, segment.committed - segment.acked) for segment in self._segments.values())

    @property
    def segments(self) -> int:
        return len(self._segments)

    def oldest_waiting_s(self, now_unix: float) -> float:
        """Age of the oldest record not yet acknowledged; 0 if there is none."""
        for segment in self._segments.values():
            records, _ = segment.read(max(segment.acked, HEADER_BYTES), 1)
            if records:
                try:
                    return max(0.0, now_unix - _decode(records[0]).at_unix)
                except msgspec.MsgspecError:
                    return 0.0
        return 0.0
