"""Parts as they come down a stream."""

import pytest

from adapters.fleet.arrivals import PART_BYTES, Arrivals, Overrun
from core.resource import digest

ONE, TWO = b"1" * 10, b"2" * 7


def arrive(arrivals: Arrivals, part: bytes, step: int = 4) -> bytes:
    address = digest(part)
    for start in range(0, max(len(part), 1), step):
        arrivals.chunk(address, len(part), part[start : start + step])
    return address


def test_a_part_is_there_when_its_last_chunk_is() -> None:
    arrivals = Arrivals()
    address = digest(ONE)
    arrivals.chunk(address, 10, ONE[:9])
    arrivals.chunk(address, 10, ONE[9:])
    assert arrivals.claim([address]) == {address: ONE}


def test_an_empty_part_arrives_too() -> None:
    arrivals = Arrivals()
    address = arrive(arrivals, b"")
    assert arrivals.claim([address]) == {address: b""}


def test_a_part_that_is_not_what_its_digest_says_never_arrives() -> None:
    arrivals = Arrivals()
    arrivals.chunk(digest(ONE), 10, b"x" * 10)
    assert arrivals.claim([digest(ONE)]) == {}
    assert arrivals.size_bytes == 0


def test_a_part_two_pushes_name_stays_until_both_are_answered() -> None:
    arrivals = Arrivals()
    shared, own = arrive(arrivals, ONE), arrive(arrivals, TWO)
    first = arrivals.claim([shared, own])
    second = arrivals.claim([shared])
    assert second == {shared: ONE}
    arrivals.release(first)
    assert arrivals.claim([shared]) == {shared: ONE}
    arrivals.release([shared])
    arrivals.release([shared])
    assert arrivals.claim([shared]) == {}
    assert arrivals.size_bytes == 0


def test_what_no_push_names_is_dropped() -> None:
    arrivals = Arrivals()
    arrive(arrivals, ONE)
    assert arrivals.claim([]) == {}
    assert arrivals.size_bytes == 0


def test_a_part_sent_again_is_kept_once() -> None:
    arrivals = Arrivals()
    address = arrive(arrivals, ONE)
    arrive(arrivals, ONE)
    assert arrivals.size_bytes == 10
    arrivals.release(arrivals.claim([address]))
    assert arrivals.size_bytes == 0


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"a", 4, b"xx"), (b"b", 4, b"xx")],
        [(b"a", 4, b"xx"), (b"a", 5, b"xx")],
        [(b"a", 4, b"xxxxx")],
        [(b"a", PART_BYTES + 1, b"x")],
    ],
)
def test_chunks_that_do_not_fit_together_end_the_stream(chunks: list[tuple[bytes, int, bytes]]) -> None:
    arrivals = Arrivals()
    *first, last = chunks
    for chunk in first:
        arrivals.chunk(*chunk)
    with pytest.raises(Overrun):
        arrivals.chunk(*last)


def test_more_than_a_node_can_hold_ends_the_stream() -> None:
    arrivals = Arrivals(limit_bytes=16)
    arrive(arrivals, ONE)
    with pytest.raises(Overrun):
        arrive(arrivals, TWO)
