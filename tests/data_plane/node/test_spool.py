"""The spool keeps what was appended, whoever dies, and never more than it may."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.call import Record, RecordsAway
from data_plane.spool import HEADER_BYTES, RECORD_MAX_BYTES, SUFFIX, Segment, Spool
from data_plane.supervisor.records import RecordPump

SMALL = 128 * 1024


class Kept:
    """A Records in memory that can be away."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self.away = False

    async def ship(self, records: list[bytes]) -> None:
        if self.away:
            raise RecordsAway("away")
        self.rows += records


def record(number: int, **fields: object) -> bytes:
    return msgspec.msgpack.encode(Record(id=f"r{number}", at_unix=float(number), **fields))


def ids(rows: list[bytes]) -> list[str]:
    return [msgspec.msgpack.decode(row, type=Record).id for row in rows]


def read_all(folder: Path) -> list[bytes]:
    found: list[bytes] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        segment = Segment(path)
        at = HEADER_BYTES
        while True:
            rows, end = segment.read(at, 4096)
            if not rows:
                break
            found += rows
            at = end
        segment.close()
    return found


def pump(folder: Path, records: Kept, told: list[str] | None = None) -> RecordPump:
    seen: list[str] = [] if told is None else told
    return RecordPump(folder, records, lambda row: seen.append(row.id))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=3000), max_size=200))
def test_what_is_appended_is_read_back_in_order_over_any_number_of_segments(rows: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        spool = Spool(Path(name), 64 * SMALL, SMALL)
        assert all(spool.append(row) for row in rows)
        spool.close()
        assert read_all(Path(name)) == rows


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_torn_write_ends_the_segment_and_never_yields_a_record_that_was_not_written(data: st.DataObject) -> None:
    rows = [os.urandom(data.draw(st.integers(1, 400))) for _ in range(20)]
    with tempfile.TemporaryDirectory() as name:
        spool = Spool(Path(name), 8 * SMALL, SMALL)
        for row in rows:
            spool.append(row)
        spool.close()
        (path,) = Path(name).glob(f"*{SUFFIX}")
        end = HEADER_BYTES + sum(len(row) + 8 for row in rows)
        torn = bytearray(path.read_bytes())
        at = data.draw(st.integers(HEADER_BYTES, end - 1))
        torn[at : at + data.draw(st.integers(1, 64))] = os.urandom(1)
        path.write_bytes(torn)
        found = read_all(Path(name))
        assert found == rows[: len(found)]


def test_a_full_spool_refuses_counts_and_keeps_a_reserve_for_admitted_calls(tmp_path: Path) -> None:
    now = [0.0]
    spool = Spool(tmp_path, 3 * SMALL, SMALL, clock=lambda: now[0])
    row = b"x" * 1000
    while spool.has_room():
        assert spool.append(row)
    while spool.append(row):
        pass
    assert len(list(tmp_path.glob(f"*{SUFFIX}"))) == 2
    assert spool.append(row, required=True)
    assert len(list(tmp_path.glob(f"*{SUFFIX}"))) == 3
    now[0] += 1
    assert not spool.has_room(), "the reserve is no room for calls yet to be let in"
    assert not spool.append(row), "nor for records that may be lost"
    assert spool.append(row, required=True)
    for shipped in sorted(tmp_path.glob(f"*{SUFFIX}"))[:2]:
        shipped.unlink()
    now[0] += 1
    assert spool.has_room(), "room again, with a segment left for the next reserve"
    assert spool.append(row)
    spool.close()


def test_room_comes_back_when_the_supervisor_has_shipped(tmp_path: Path) -> None:
    async def main() -> None:
        now = [0.0]
        spool = Spool(tmp_path, 2 * SMALL, SMALL, clock=lambda: now[0])
        other = Spool(tmp_path, 2 * SMALL, SMALL)
        other.append(record(0))
        while spool.append(record(1, detail="x" * 900)):
            pass
        assert not spool.has_room()
        other.close()
        kept = Kept()
        at_work = pump(tmp_path, kept)
        assert await at_work.finish(5)
        now[0] += 1
        assert spool.has_room()
        assert spool.append(record(2))
        at_work.look()
        assert at_work.dropped == 1
        at_work.close()
        spool.close()

    asyncio.run(main())


def test_a_record_larger_than_the_cap_is_dropped_and_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 8 * SMALL, SMALL)
    assert not spool.append(b"x" * SMALL)
    assert RECORD_MAX_BYTES < SMALL
    assert spool.append(b"y")
    assert read_all(tmp_path) == [b"y"]
    spool.close()


def test_a_killed_writer_loses_nothing_and_its_segment_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, os\n"
        "sys.path.insert(0, os.getcwd())\n"
        "from tests.data_plane.node.test_spool import record\n"
        "from data_plane.spool import Spool\n"
        "spool = Spool(pathlib.Path(sys.argv[1]), 2**20, 2**17)\n"
        "for number in range(500): spool.append(record(number))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdin is not None
    assert writer.stdout.readline() == b"ready\n"

    async def main() -> None:
        kept, told = Kept(), []
        at_work = pump(tmp_path, kept, told)
        at_work.look()
        assert len(told) == 500
        while await at_work.ship_once():
            pass
        assert list(tmp_path.glob(f"*{SUFFIX}")), "the owner lives: its segment stays"
        writer.send_signal(signal.SIGKILL)
        writer.wait(5)
        assert await at_work.finish(5)
        assert ids(kept.rows) == [f"r{number}" for number in range(500)]
        assert not list(tmp_path.glob(f"*{SUFFIX}"))
        at_work.close()

    try:
        asyncio.run(main())
    finally:
        writer.kill()
        writer.wait(5)
        writer.stdin.close()
        writer.stdout.close()


def test_a_new_supervisor_goes_on_where_the_killed_one_was(tmp_path: Path) -> None:
    async def main() -> None:
        spool = Spool(tmp_path, 8 * SMALL, SMALL)
        for number in range(10):
            spool.append(record(number))
        away, told = Kept(), []
        away.away = True
        first = pump(tmp_path, away, told)
        first.look()
        with pytest.raises(RecordsAway):
            await first.ship_once()
        # Not closed, as after SIGKILL: what it noted is in the mapped header already.
        for number in range(10, 12):
            spool.append(record(number))
        kept = Kept()
        second = pump(tmp_path, kept, told)
        second.look()
        assert await second.ship_once()
        assert told == [f"r{number}" for number in range(12)], "each is counted and logged once"
        assert ids(kept.rows) == told
        assert second.waiting_bytes == 0
        for each in (first, second):
            each.close()
        spool.close()

    asyncio.run(main())


def test_what_is_no_segment_is_left_alone_and_stops_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / f"0-1-1{SUFFIX}").write_bytes(b"something else")
        (tmp_path / f"0-1-2{SUFFIX}").write_bytes(b"")
        spool = Spool(tmp_path, 8 * SMALL, SMALL)
        spool.append(record(1))
        kept = Kept()
        at_work = pump(tmp_path, kept)
        assert await at_work.finish(5)
        assert ids(kept.rows) == ["r1"]
        assert (tmp_path / f"0-1-1{SUFFIX}").read_bytes() == b"something else"
        at_work.close()
        spool.close()

    asyncio.run(main())


def test_the_oldest_waiting_record_has_an_age(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 8 * SMALL, SMALL)
    at_work = pump(tmp_path, Kept())
    assert at_work.oldest_waiting_s(100.0) == 0.0
    spool.append(record(40))
    spool.append(record(90))
    at_work.look()
    assert at_work.oldest_waiting_s(100.0) == 60.0
    at_work.close()
    spool.close()


async def test_shipping_waits_out_an_absence_and_then_delivers_everything(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 64 * SMALL, SMALL)
    kept = Kept()
    kept.away = True
    at_work = pump(tmp_path, kept)
    for number in range(3000):
        spool.append(record(number))
    task = asyncio.ensure_future(at_work.ship())
    at_work.look()
    async with asyncio.timeout(20):
        await asyncio.sleep(0)
        kept.away = False
        while len(kept.rows) < 3000:
            await asyncio.sleep(0.01)
    task.cancel()
    assert ids(kept.rows) == [f"r{number}" for number in range(3000)]
    at_work.close()
    spool.close()
