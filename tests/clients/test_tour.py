"""Each client on the tour with no gateway between: what fails here is not the gateway's doing."""

from typing import Any

import pytest

from tests.clients import python_sdk, typescript
from tests.clients.tour import Place, expected, facts, missing, reports, steps
from tests.harness.upstream_matrix import serving

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
CLIENTS = ["python legacy", "python auto", "1 legacy", "2 legacy", "2 auto"]
SERVERS = [("legacy", "http"), ("legacy", "sse"), ("modern", "http")]
CELLS = [(*one, client) for one in SERVERS for client in CLIENTS if one[0] == "legacy" or client.endswith("auto")]
"""Those that have a revision in common: the others are what a gateway is for."""


async def toured(place: Place, client: str, endpoint: str) -> Any:
    version, mode = client.split()
    if version == "python":
        async with python_sdk.connected(place, mode) as connected:
            return await python_sdk.toured(connected, steps(endpoint))
    return await typescript.toured(place, int(version), mode, steps(endpoint))  # type: ignore[arg-type]


@pytest.mark.parametrize(("era", "way", "client"), CELLS)
async def test_a_client_takes_the_whole_tour_of_a_server(era: Any, way: Any, client: str) -> None:
    async with serving(era, way) as matrix:
        seen = await toured(Place(way, matrix.url), client, era)
    assert not missing(era, seen)
    assert facts(seen) == expected(era)
    assert reports(era, seen) or (way == "sse" and "python" not in client)
