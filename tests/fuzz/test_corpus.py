"""What fuzzing has found worth keeping is replayed, and a little is tried anew; `runner.py` does it at length."""

from collections.abc import Iterator
from random import Random

import pytest

from tests.fuzz import corpus, wire
from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import all_targets

ANEW = 200


@pytest.fixture(autouse=True, scope="module")
def loop_of_all_runs() -> Iterator[None]:
    yield
    wire.close()


def spoilt(data: bytes, chance: Random) -> bytes:
    """A byte changed, lost or doubled, or two inputs' halves."""
    at = chance.randrange(len(data) + 1)
    put = chance.choice((b"", bytes([chance.randrange(256)]), data[at:][:8] * 2, b"\x00", b"\r\n", b"\xff"))
    return data[:at] + put + data[at + chance.choice((0, 1, 4)) :]


@pytest.mark.parametrize("name", corpus.NAMES)
def test_nothing_that_was_kept_is_a_bug(name: str) -> None:
    target = all_targets()[name]
    for data in (*seeds(name), *corpus.kept(name)):
        target(data)


@pytest.mark.parametrize("name", corpus.NAMES)
def test_a_little_that_is_new_is_no_bug_either(name: str) -> None:
    target, chance = all_targets()[name], Random(f"{name} 1")
    known = [*seeds(name), *corpus.kept(name)]
    for _ in range(ANEW):
        target(mutated(chance.choice(known), chance, lambda data: spoilt(data, chance)))


def test_every_target_has_a_corpus_and_all_of_it_is_small() -> None:
    assert set(corpus.NAMES) == set(all_targets())
    sizes = {path.name: path.stat().st_size for path in corpus.FOLDER.iterdir()}
    assert sizes.keys() == set(corpus.NAMES)
    assert sum(sizes.values()) < 300_000
