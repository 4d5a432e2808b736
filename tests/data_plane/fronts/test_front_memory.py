"""What a finished call leaves in memory: nothing, and without the garbage collector's help."""

import gc

import pytest
from front_harness import Site, call, modern, modern_headers, request

from core.call import Inbound
from data_plane.fronts.exchange import Exchange

CALLS = 20


def left() -> int:
    """Calls still in memory, those in rings that only the collector would find included."""
    return sum(isinstance(thing, Exchange | Inbound) for thing in gc.get_objects())


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (modern(), modern_headers()),
        (modern(params={"name": "progress", "arguments": {}}, progressToken=1), modern_headers(name="progress")),
        (modern(params={"name": "nothing", "arguments": {}}), modern_headers(name="nothing")),
        (modern("tools/list"), modern_headers("tools/list")),
    ],
    ids=["answered", "streamed", "refused", "listed"],
)
async def test_a_finished_call_is_freed_at_once(site: Site, body: dict, headers: dict) -> None:
    wire = await site.connect()
    gc.collect()
    before = left()
    gc.disable()
    try:
        for _ in range(CALLS):
            await wire.send(request(body, headers))
            await wire.reply()
            site.pipeline.seen.clear()
        # The last one's task may have a step to go.
        assert left() - before <= 2
    finally:
        gc.enable()


async def test_a_session_that_is_dropped_leaves_nothing_in_the_front(site: Site) -> None:
    wire = await site.connect()
    gc.collect()
    before = left()
    gc.disable()
    try:
        for _ in range(CALLS):
            session = await site.session()
            await wire.send(request(call(), {"Mcp-Session-Id": session}))
            await wire.reply()
            site.pipeline.seen.clear()
        assert left() - before <= 4
    finally:
        gc.enable()
