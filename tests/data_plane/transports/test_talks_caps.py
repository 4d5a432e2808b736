"""How many conversations there may be, and whose."""

from functools import partial
from types import SimpleNamespace

import pytest

from core.call import Inbound, Opening, Result
from core.errors import Reason, Refused, Unavailable
from data_plane.fronts.address import Address
from data_plane.fronts.party import Party
from data_plane.fronts.talk import Talk
from data_plane.fronts.talks import Talks
from data_plane.listeners import Listeners, Sight
from data_plane.streams import Streams
from data_plane.watches import Watches


async def handle(inbound: Inbound) -> Result:
    if inbound.credential == b"stranger":
        raise Refused(Reason.UNAUTHENTICATED, "no")
    whose = inbound.credential.decode().partition("-")[0]
    return Result(
        result=b'{"max_body_bytes":1000}', revision=inbound.revision, opening=Opening(tenant="acme", principal=whose)
    )


def party(credential: bytes) -> Party:
    return Party(place=Address("acme", "default"), transport="websocket", credential=credential)


def talks(cap: int) -> tuple[Talks, Listeners]:
    listeners = Listeners(lambda _: None)
    snapshot = SimpleNamespace(manifest=SimpleNamespace(generation=1))
    streams = Streams(listeners, Watches({}), lambda *_: Sight(), lambda _: snapshot)  # type: ignore[arg-type,return-value]
    return Talks(handle, streams, version="1", max_bytes=4000, cap=cap), listeners


async def refused(made: Talks, credential: bytes) -> Reason:
    with pytest.raises((Refused, Unavailable)) as failure:
        await made.admit(party(credential))
    return failure.value.reason


async def test_no_caller_holds_more_than_its_share_whatever_keys_it_has() -> None:
    made, listeners = talks(8)
    first: list[Talk] = [await made.admit(party(key)) for key in (b"a-1", b"a-2")]
    assert await refused(made, b"a") is Reason.OVERLOADED
    assert await refused(made, b"stranger") is Reason.UNAUTHENTICATED
    await made.admit(party(b"b"))
    made.forget(first[0])
    made.forget(first[0])
    await made.admit(party(b"a"))
    assert await refused(made, b"a") is Reason.OVERLOADED
    assert (made.bounds()["talks"].held, made.bounds()["talks"].hits, len(listeners)) == (3, 2, 3)


async def test_beyond_the_cap_nobody_is_asked_who_it_is() -> None:
    made, _ = talks(4)
    admit = partial(made.admit)
    held = [await admit(party(name)) for name in (b"a", b"b", b"c", b"d")]
    assert await refused(made, b"stranger") is Reason.OVERLOADED
    made.forget(held[0])
    assert held[1].max_bytes == 1000
    await admit(party(b"e"))
    made.depart()
    made.forget(held[1])
    assert await refused(made, b"f") is Reason.OVERLOADED
    assert not await made.expelled(party(b"stranger"))
