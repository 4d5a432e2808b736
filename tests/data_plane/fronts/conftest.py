from collections.abc import AsyncIterator

import pytest
from front_harness import Site, serving


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as running:
        yield running
