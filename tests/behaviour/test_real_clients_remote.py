"""Clients of standard input and output, behind `mcp-remote` that carries them to both planes with a key in a header."""

import pytest

from tests.clients import python_sdk, typescript
from tests.clients.tour import ENDPOINTS, Json, Place, Step, expected, facts, missing, steps
from tests.clients.typescript import Version
from tests.clients.world import World

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]


REVISIONS = {"legacy": "2025-11-25", "auto": "2026-07-28", "2026-07-28": "2026-07-28"}


def possible(endpoint: str, mode: str) -> dict[str, Step]:
    """Without giving calls up in the modern era: it is done by closing a stream there, which `mcp-remote` does not."""
    return {key: step for key, step in steps(endpoint).items() if mode == "legacy" or not key.endswith(" cancelled")}


def wanted(endpoint: str, mode: str) -> Json:
    return {key: fact for key, fact in expected(endpoint).items() if key in possible(endpoint, mode)}


async def toured(place: Place, endpoint: str, mode: str) -> Json:
    async with python_sdk.connected(place, mode) as client:
        return await python_sdk.toured(client, possible(endpoint, mode))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("mode", REVISIONS)
async def test_the_python_client_takes_the_whole_tour(served: World, endpoint: str, mode: str) -> None:
    async with served.behind_remote(endpoint) as place:
        seen = await toured(place, endpoint, mode)
    assert seen["revision"] == REVISIONS[mode]
    assert not missing(endpoint, seen)
    assert facts(seen) == wanted(endpoint, mode)


async def test_it_takes_it_over_an_event_stream_and_posts_too(served: World) -> None:
    async with served.behind_remote("both", sse=True) as place:
        seen = await toured(place, "both", "legacy")
    assert not missing("both", seen)
    assert facts(seen) == expected("both")


@pytest.mark.parametrize(("version", "mode"), [(1, "legacy"), (2, "auto")])
async def test_the_typescript_clients_take_it_as_well(served: World, version: Version, mode: str) -> None:
    async with served.behind_remote("both") as place:
        seen = await typescript.toured(place, version, mode, possible("both", mode))
    assert not missing("both", seen)
    assert facts(seen) == wanted("both", mode)
