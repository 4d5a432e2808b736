"""Packs give back exactly what was put in, or say that they cannot."""

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.resource import digest
from data_plane.packs import ENTRY, Packs, PackWriter

KIB = 1024


def fill(packs: PackWriter, parts: list[bytes]) -> list[bytes]:
    for part in parts:
        packs.append(digest(part), part)
    return [digest(part) for part in parts]


def readable(packs: PackWriter) -> dict[bytes, bytes]:
    found = {}
    for part, place in packs.places.items():
        try:
            found[part] = packs.read(part, place)
        except (OSError, ValueError):
            continue
    return found


@settings(deadline=None, max_examples=40)
@given(st.lists(st.binary(max_size=3000), max_size=60))
def test_what_was_put_in_is_found_again_by_another_process(parts: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        packs = PackWriter(Path(name), 8 * KIB)
        fill(packs, parts)
        packs.close()
        again = PackWriter(Path(name), 8 * KIB)
        assert again.places == packs.places
        reader = Packs(Path(name))
        assert {part: reader.read(part, place) for part, place in again.places.items()} == {digest(p): p for p in parts}
        again.close()


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32), st.integers(1, 200))
def test_changed_bytes_lose_the_parts_they_are_in_and_no_other(seed: int, count: int) -> None:
    chance = random.Random(seed)
    parts = [chance.randbytes(chance.randrange(1, 300)) for _ in range(20)]
    with tempfile.TemporaryDirectory() as name:
        packs = PackWriter(Path(name))
        fill(packs, parts)
        packs.close()
        (path,) = Path(name).iterdir()
        data = bytearray(path.read_bytes())
        at = chance.randrange(len(data))
        data[at : at + count] = chance.randbytes(len(data[at : at + count]))
        path.write_bytes(data)
        untouched, start = set(), 0
        for part in parts:
            end = start + ENTRY.size + len(part)
            if end <= at or start >= at + count:
                untouched.add(part)
            start = end
        again = PackWriter(Path(name))
        found = set(readable(again).values())
        assert found <= set(parts)
        # What follows a broken head is found again by its magic; a head that lies about its size is refused by its CRC.
        assert untouched <= found
        again.close()


def test_a_part_cut_off_by_a_power_loss_is_written_over(tmp_path: Path) -> None:
    packs = PackWriter(tmp_path)
    kept, torn = fill(packs, [b"kept" * 100, b"torn" * 100])
    packs.close()
    (path,) = tmp_path.iterdir()
    os.truncate(path, path.stat().st_size - 7)
    again = PackWriter(tmp_path)
    assert set(again.places) == {kept}
    (added,) = fill(again, [b"added"])
    again.close()
    last = PackWriter(tmp_path)
    assert readable(last) == {kept: b"kept" * 100, added: b"added"}
    assert torn not in last.places
    last.close()


def test_a_pack_of_mostly_garbage_is_emptied_and_then_deleted(tmp_path: Path) -> None:
    packs = PackWriter(tmp_path, 8 * KIB)
    names = fill(packs, [bytes([n]) * KIB for n in range(40)])
    alive = set(names[::5])
    before = {part: packs.places[part] for part in alive}
    first = len(list(tmp_path.iterdir()))
    future = 2**40
    packs.collect(alive, future)
    assert all(packs.read(part, before[part]) for part in alive), "who was told of an old place can read there"
    packs.collect(alive, future)
    assert len(list(tmp_path.iterdir())) < first
    assert set(readable(packs)) >= alive
    packs.close()
    again = PackWriter(tmp_path, 8 * KIB)
    assert set(readable(again)) >= alive
    again.close()


def test_young_packs_are_left_alone(tmp_path: Path) -> None:
    packs = PackWriter(tmp_path, 8 * KIB)
    fill(packs, [bytes([n]) * KIB for n in range(40)])
    before = sorted(tmp_path.iterdir())
    assert packs.collect(set(), 0.0) == 0
    assert sorted(tmp_path.iterdir()) == before
    packs.close()


def test_a_digest_written_twice_means_the_later_one(tmp_path: Path) -> None:
    packs = PackWriter(tmp_path)
    (part,) = fill(packs, [b"same"])
    data = bytearray((tmp_path / "00000001.pack").read_bytes())
    data[-1] ^= 1
    (tmp_path / "00000001.pack").write_bytes(data)
    with pytest.raises(ValueError, match="changed"):
        packs.read(part, packs.places[part])
    fill(packs, [b"same"])
    assert packs.read(part, packs.places[part]) == b"same"
    packs.close()
    again = PackWriter(tmp_path)
    assert again.read(part, again.places[part]) == b"same"
    again.close()
