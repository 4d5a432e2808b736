"""Each property against the fixtures, without a gateway: what fails here is the property's or the fixture's doing."""

import pytest

from tests.harness.upstream_matrix import command, serving
from tests.matrix.cells import COLUMNS, Column, Row, failure, straight, tried
from tests.matrix.front import Pipe
from tests.matrix.pipes import Lines
from tests.matrix.properties import PROPERTIES

REVISIONS = {"legacy": ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"), "modern": ("2026-07-28",)}
STRAIGHT = [(column, revision) for column in COLUMNS for revision in REVISIONS[column.era]]


@pytest.mark.parametrize(("column", "revision"), STRAIGHT, ids=lambda one: getattr(one, "name", one))
async def test_every_property_holds_without_a_gateway(column: Column, revision: str) -> None:
    row = Row(revision, column.transport)
    if column.transport == "stdio":

        def started(_: Row) -> Pipe:
            return Lines(command(column.era))  # type: ignore[arg-type]

        found = {name: await failure(row, started, holds) for name, holds in PROPERTIES.items()}
    else:
        async with serving(column.era, column.transport) as server:  # type: ignore[arg-type]
            found = {name: await failure(row, straight(server.url), holds) for name, holds in PROPERTIES.items()}
    assert {name: why for name, why in found.items() if why} == {}


async def test_a_program_that_ends_is_noticed_at_once() -> None:
    def ends(_: Row) -> Pipe:
        return Lines(["sh", "-c", "read line; exit 3"])

    assert await failure(Row("2026-07-28", "stdio"), ends, PROPERTIES["call"]) == "the program ended with 3"


async def test_a_property_that_does_not_hold_says_why() -> None:
    row = Row("2025-11-25", "http")
    async with serving("legacy", "http") as server:
        del server.fixture.tools["fails"], server.fixture.tools["steps"]
        assert "Unknown tool" in await failure(row, straight(server.url), PROPERTIES["error"])
        assert "Unknown tool" in await failure(row, straight(server.url), PROPERTIES["progress"])
        assert "-32022" not in await failure(row, straight(server.url), PROPERTIES["call"])
    async with serving("modern", "http") as server:
        assert "-32022" in await failure(row, straight(server.url), PROPERTIES["call"])


async def test_what_does_not_hold_leaves_the_others_as_they_are() -> None:
    async with serving("legacy", "http") as server:
        del server.fixture.tools["steps"]
        outcome = await tried(Row("2025-11-25", "http"), straight(server.url))
    assert "Unknown tool" in outcome.pop("progress")
    assert outcome == dict.fromkeys(PROPERTIES.keys() - {"progress"}, "")
