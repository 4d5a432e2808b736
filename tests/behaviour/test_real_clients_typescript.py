"""The TypeScript SDKs' clients through both planes, authenticated."""

import pytest

from tests.clients.tour import Way, expected, facts, missing, reports, steps
from tests.clients.typescript import Version, toured
from tests.clients.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
MODES: list[tuple[Version, str, str]] = [
    (1, "legacy", "2025-11-25"),
    (2, "legacy", "2025-11-25"),
    (2, "auto", "2026-07-28"),
    (2, "2026-07-28", "2026-07-28"),
]
"""The client, how it is told to negotiate, and what comes of it."""
CELLS: list[tuple[str, Way]] = [
    ("legacy", "http"),
    ("modern", "http"),
    ("both", "http"),
    ("both", "sse"),
    ("both", "stdio"),
]


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
@pytest.mark.parametrize(("version", "mode", "revision"), MODES)
async def test_it_takes_the_whole_tour(
    served: World, cell: tuple[str, Way], version: Version, mode: str, revision: str
) -> None:
    endpoint, way = cell
    seen = await toured(served.place(endpoint, way), version, mode, steps(endpoint))
    assert seen["revision"] == revision
    assert not missing(endpoint, seen)
    assert facts(seen) == expected(endpoint)
    assert reports(endpoint, seen) or way != "http"
