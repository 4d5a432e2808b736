"""Bodies of strangers: each within a size and a time, all together within a budget, and nothing kept afterwards."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from control_plane.api.bodies import DRAIN_BYTES, MAX_BODY_BYTES, Bodies, TooLarge, TooSlow
from control_plane.api.call import Calls
from control_plane.api.metrics import Metrics
from control_plane.api.rest_edge import RestEdge
from control_plane.api.rpc import rpcs
from core.admin import Admin, Rejected, Why
from toolgate.v1 import resources_pb2 as pb


async def chunks(*sizes: int, then: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size
    if then is not None:
        await then.wait()


async def test_a_body_is_what_its_chunks_are_together() -> None:
    bodies = Bodies()
    assert await bodies.read(chunks(3, 0, 4)) == b"x" * 7
    assert bodies.bound.held == 0


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, DRAIN_BYTES + MAX_BODY_BYTES])
async def test_one_too_large_is_refused_whether_it_ends_or_not(size: int) -> None:
    bodies = Bodies()
    with pytest.raises(TooLarge):
        await bodies.read(chunks(*[1024 * 1024] * (size // 1024 // 1024), 1))
    assert bodies.bound.held == 0


async def test_one_that_does_not_come_is_not_waited_for() -> None:
    bodies = Bodies(within_s=0.01)
    with pytest.raises(TooSlow):
        await bodies.read(chunks(5, then=asyncio.Event()))
    assert bodies.bound.held == 0


async def test_many_at_once_share_a_budget_and_the_one_too_many_is_counted() -> None:
    bodies, go_on = Bodies(all_bytes=1000), asyncio.Event()
    first = asyncio.ensure_future(bodies.read(chunks(900, then=go_on)))
    async with asyncio.timeout(5):
        while bodies.bound.held < 900:
            await asyncio.sleep(0)
    with pytest.raises(Rejected) as caught:
        await bodies.read(chunks(50, 51))
    assert caught.value.why is Why.UNAVAILABLE
    assert (bodies.bound.held, bodies.bound.hits) == (900, 1)
    go_on.set()
    assert await first == b"x" * 900
    assert (bodies.bound.held, bodies.bound.hits) == (0, 1)


async def nobody(_: str) -> Admin:
    raise Rejected(Why.UNAUTHENTICATED, "the admin token is not valid")


async def ready() -> bool:
    return True


async def never_run(*_: object) -> None:
    raise AssertionError("its body never came")


async def test_a_client_whose_body_never_comes_is_told_so() -> None:
    service = pb.DESCRIPTOR.services_by_name["Resources"]
    methods = rpcs(service, {method.name: never_run for method in service.methods})
    edge = RestEdge(
        methods, Calls("rest", nobody, Metrics()), figures=Metrics(), ready=ready, bodies=Bodies(within_s=0.01)
    )
    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/v1/tenants/acme/servers/shop",
        "query_string": b"",
        "headers": [],
    }
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()
        return {}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async with asyncio.timeout(5):
        await edge(scope, receive, send)
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["type"] == "urn:toolgate:problem:too_slow"
