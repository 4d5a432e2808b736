"""Server-sent events from bytes, however the bytes are cut and the lines are ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.upstreams.sse import Event, EventParser, TooLongError

STREAM = (
    b"\xef\xbb\xbf: a comment\n\nid: 1\ndata:\n\n"
    b'event: message\nid: 2\nretry: 250\ndata: {"a":\ndata: 1}\n\n'
    b"event: other\ndata:no space\n\ndata\n\nunknown: x\ndata: last\n\ndata: unfinished"
)
EVENTS = [
    Event(b""),
    Event(b'{"a":\n1}'),
    Event(b"no space", b"other"),
    Event(b""),
    Event(b"last"),
]


def parse(pieces: list[bytes], max_bytes: int = 1000) -> tuple[list[Event], EventParser]:
    parser = EventParser(max_bytes)
    return [event for piece in pieces for event in parser.feed(piece)], parser


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_are_the_same_when_the_stream_is_cut_at_every_byte(end: bytes) -> None:
    stream = STREAM.replace(b"\n", end)
    whole, parser = parse([stream])
    assert whole == EVENTS
    assert (parser.last_id, parser.retry_ms) == ("2", 250)
    for cut in range(len(stream)):
        assert parse([stream[:cut], stream[cut:]])[0] == EVENTS
    assert parse([stream[i : i + 1] for i in range(len(stream))])[0] == EVENTS


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_any_bytes_give_the_same_events_however_they_are_cut(pieces: list[bytes]) -> None:
    assert parse(pieces, 10_000)[0] == parse([b"".join(pieces)], 10_000)[0]


def test_an_id_counts_once_its_event_is_complete() -> None:
    _, parser = parse([b"id: 1\ndata: x\n\nid: 2\ndata: y\n"])
    assert parser.last_id == "1"


def test_an_event_without_data_is_none_but_its_id_and_retry_count() -> None:
    events, parser = parse([b"id: prime\nretry: 7\n\n"])
    assert (events, parser.last_id, parser.retry_ms) == ([], "prime", 7)


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 200, b"data: x\n" * 200, b": " + b"c" * 200])
def test_one_event_or_line_longer_than_the_cap_is_refused(stream: bytes) -> None:
    with pytest.raises(TooLongError):
        parse([stream[i : i + 10] for i in range(0, len(stream), 10)], 100)
