"""The record of a call, whatever the call was."""

import msgspec
import pytest

from core.call import Record
from core.errors import Reason, Refused
from data_plane.meter import NAME_CHARS, Meter
from tests.data_plane.stages.builders import inbound


class Kept(list[bytes]):
    """A sink that keeps what it is given."""

    def append(self, record: bytes, *, required: bool = False) -> bool:
        super().append(record)
        return True

    def has_room(self) -> bool:
        return True


def test_a_record_is_small_however_long_the_names_in_the_request() -> None:
    kept = Kept()
    asked = inbound(method="m" * 1_000_000, name="n" * 1_000_000, arguments=b'{"x":"%b"}' % (b"y" * 1_000_000))
    with pytest.raises(Refused), Meter(kept, "node").record(asked):
        raise Refused(Reason.UNAUTHENTICATED, "no", detail="d" * 1_000_000)
    (row,) = kept
    assert len(row) < 2_048
    record = msgspec.msgpack.decode(row, type=Record)
    assert (record.method, record.tool) == ("m" * NAME_CHARS, "n" * NAME_CHARS)
    assert record.outcome == "unauthenticated"
