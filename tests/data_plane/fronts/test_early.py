"""What is told before a stream has begun is kept, up to what a client may leave unread."""

import asyncio
from typing import cast

import pytest

from core.call import Inbound, Notification
from data_plane.fronts.event_stream import EventStream
from data_plane.fronts.exchange import MAX_QUEUED_BYTES
from data_plane.fronts.listening import _Subscription
from data_plane.fronts.standing import Standing, _Session

KIB = Notification("notifications/resources/updated", b'{"uri":"%b"}' % (b"x" * 1024))


async def nowhere(_: object) -> None:
    """Nothing is sent yet."""


def subscription(out: EventStream) -> _Subscription:
    return _Subscription(out, b"1")


def session(out: EventStream) -> _Session:
    inbound = Inbound(
        id="i",
        tenant="acme",
        endpoint="default",
        transport="streamable_http",
        era="legacy",
        revision="2025-11-25",
        method="GET",
        credential=b"k",
        session=b"s",
    )
    return _Session(cast("Standing", None), inbound, out)


@pytest.mark.parametrize("stream", [subscription, session])
async def test_who_is_told_more_than_that_has_to_come_again(stream: type[_Subscription]) -> None:
    out = EventStream(nowhere, ())
    early = stream(out)  # type: ignore[call-arg, arg-type]
    tell = early.tell if isinstance(early, _Session) else early._tell
    for _ in range(700):
        tell(KIB)
    await asyncio.sleep(0)
    assert not out.gone
    assert len(early._early or ()) == 700
    for _ in range(700):
        tell(KIB)
    assert out.gone
    assert sum(map(len, early._early or ())) <= MAX_QUEUED_BYTES
