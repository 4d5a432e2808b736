"""The record of a call, whatever the call was."""

import msgspec
import pytest

from core.call import Record
from core.errors import Reason, Refused
from core.guard import Finding
from core.snapshot import Manifest
from data_plane.meter import NAME_CHARS, STRANGERS_PER_S, Meter
from tests.data_plane.stages.builders import inbound, permit


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


def test_a_block_is_in_the_record_as_any_finding_is() -> None:
    kept = Kept()
    blocked = (Finding("card", "block", "in", 1),)
    with pytest.raises(Refused), Meter(kept, "node").record(inbound()):
        raise Refused(Reason.GUARD_BLOCKED, "no", findings=blocked)
    assert msgspec.msgpack.decode(kept[0], type=Record).findings == blocked


def test_arguments_cannot_be_found_out_from_their_digest_without_the_tenants_pepper() -> None:
    manifest = Manifest(tenant="acme", generation=1, parts=())
    digests = []
    for arguments, pepper in ((b"{}", b"1"), (b"{}", b"1"), (b"{}", b"2"), (b'{"a":1}', b"1")):
        kept = Kept()
        with Meter(kept, "node").record(inbound(arguments=arguments)) as recording:
            recording.called_by(permit().caller, manifest, pepper * 32)
            recording.permitted(permit())
        digests.append(msgspec.msgpack.decode(kept[0], type=Record).arguments_digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_flood_of_strangers_is_counted_and_not_kept() -> None:
    kept, now = Kept(), [1000.0]
    meter = Meter(kept, "node", wall_clock=lambda: now[0])
    for _ in range(STRANGERS_PER_S + 500):
        with pytest.raises(Refused), meter.record(inbound()):
            raise Refused(Reason.UNAUTHENTICATED, "no")
    assert len(kept) == STRANGERS_PER_S
    now[0] = 1001.0
    with pytest.raises(Refused), meter.record(inbound()):
        raise Refused(Reason.UNAUTHENTICATED, "no")
    assert [msgspec.msgpack.decode(row, type=Record).others for row in kept[-2:]] == [0, 500]
