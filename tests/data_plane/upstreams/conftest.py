from collections.abc import AsyncIterator

import pytest

from data_plane.upstreams.mcp_http import HttpBackend


@pytest.fixture
async def backend() -> AsyncIterator[HttpBackend]:
    backend = HttpBackend()
    yield backend
    await backend.close()
