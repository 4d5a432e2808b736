"""A migrated PostgreSQL database of one's own for every test here."""

from collections.abc import Iterator

import pytest

from tests.harness.postgres import Server


@pytest.fixture
def dsn(postgres: Server) -> Iterator[str]:
    with postgres.fresh() as dsn:
        yield dsn
