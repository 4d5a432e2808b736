"""A whole control plane for the commands to talk to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.control_plane import Plane, control_plane
from tests.harness.postgres import Server


@pytest.fixture
async def plane(postgres: Server, tmp_path: Path) -> AsyncIterator[Plane]:
    with postgres.fresh() as dsn:
        async with control_plane(dsn, tmp_path / "data") as plane:
            yield plane
