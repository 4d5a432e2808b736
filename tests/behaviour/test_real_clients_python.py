"""The official Python client through both planes, authenticated: in each era and over each transport it has."""

import pytest

from tests.clients.python_sdk import connected, toured
from tests.clients.tour import ENDPOINTS, Way, expected, facts, missing, reports, steps
from tests.clients.world import World

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The SDK warns of everything the handshake era has; that era is part of what is tested here.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]
MODES = {"auto": "2026-07-28", "2026-07-28": "2026-07-28", "legacy": "2025-11-25"}
"""How it is told to negotiate, and what comes of it."""


async def takes_the_whole_tour(served: World, endpoint: str, way: Way, mode: str) -> None:
    async with connected(served.place(endpoint, way), mode) as client:
        seen = await toured(client, steps(endpoint))
    assert seen["revision"] == MODES[mode]
    assert not missing(endpoint, seen)
    assert facts(seen) == expected(endpoint)
    assert reports(endpoint, seen)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("mode", MODES)
async def test_it_takes_the_whole_tour_over_streamable_http(served: World, endpoint: str, mode: str) -> None:
    await takes_the_whole_tour(served, endpoint, "http", mode)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("mode", MODES)
async def test_it_takes_the_whole_tour_over_the_stdio_bridge(served: World, endpoint: str, mode: str) -> None:
    await takes_the_whole_tour(served, endpoint, "stdio", mode)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("mode", MODES)
async def test_it_takes_the_whole_tour_over_an_event_stream_and_posts(served: World, endpoint: str, mode: str) -> None:
    await takes_the_whole_tour(served, endpoint, "sse", mode)
