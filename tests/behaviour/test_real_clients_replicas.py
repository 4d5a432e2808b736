"""Clients whose every request goes to the next of two gateways: answers to questions too, and POSTs beside a stream."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.clients import python_sdk, typescript
from tests.clients.tour import Json, Place, Way, expected, facts, missing, steps
from tests.clients.world import World
from tests.conformance.shim import shimmed

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]
CLIENTS: list[tuple[str, str, Way]] = [
    ("python", "legacy", "http"),
    ("python", "2026-07-28", "http"),
    ("python", "legacy", "sse"),
    ("python", "legacy", "stdio"),
    ("python", "2026-07-28", "stdio"),
    ("1", "legacy", "http"),
    ("1", "legacy", "sse"),
    ("2", "legacy", "http"),
    ("2", "2026-07-28", "http"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def port(served: World) -> AsyncIterator[int]:
    """Of a balancer that knows nothing of sessions."""
    async with shimmed([node.port for node in served.nodes], {}) as port:
        yield port


async def toured(place: Place, client: str, mode: str) -> Json:
    if client == "python":
        async with python_sdk.connected(place, mode) as connected:
            return await python_sdk.toured(connected, steps("both"))
    return await typescript.toured(place, 1 if client == "1" else 2, mode, steps("both"))


@pytest.mark.parametrize(("client", "mode", "way"), CLIENTS)
async def test_a_client_of_both_takes_the_whole_tour(
    served: World, port: int, client: str, mode: str, way: Way
) -> None:
    seen = await toured(served.at(port, "both", way), client, mode)
    assert not missing("both", seen)
    assert facts(seen) == expected("both")
