"""The TypeScript SDKs' clients through both planes, authenticated."""

import pytest

from tests.clients.tour import ENDPOINTS, expected, facts, missing, reports, steps
from tests.clients.typescript import Version, toured
from tests.clients.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
MODES: list[tuple[Version, str, str]] = [
    (2, "auto", "2026-07-28"),
    (2, "2026-07-28", "2026-07-28"),
]
"""The client, how it is told to negotiate, and what comes of it."""


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("version", "mode", "revision"), MODES)
async def test_it_takes_the_whole_tour_over_streamable_http(
    served: World, endpoint: str, version: Version, mode: str, revision: str
) -> None:
    seen = await toured(served.place(endpoint), version, mode, steps(endpoint))
    assert seen["revision"] == revision
    assert not missing(endpoint, seen)
    assert facts(seen) == expected(endpoint)
    assert reports(endpoint, seen)
