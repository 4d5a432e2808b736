from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.wired import Wired, wired


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where policies are kept as machine code: compiled once for all tests."""
    folder = tmp_path_factory.mktemp("modules")
    folder.chmod(0o700)
    return folder


@pytest.fixture
async def world(compiled: Path) -> AsyncIterator[Wired]:
    async with wired(compiled) as running:
        yield running


@pytest.fixture
async def handshake(compiled: Path) -> AsyncIterator[Wired]:
    """In front of a server of the handshake era."""
    async with wired(compiled, era="legacy") as running:
        yield running


@pytest.fixture
async def pair(compiled: Path) -> AsyncIterator[Wired]:
    """Two workers."""
    async with wired(compiled, workers=2) as running:
        yield running
