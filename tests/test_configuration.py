"""docs/configuration.md says what the planes really take."""

from tests.harness.configuration import DOCS, TABLES, current


def test_the_documented_options_are_those_there_are() -> None:
    text = DOCS.read_text("utf-8")
    assert current(text) == text, "run `python -m tests.harness.configuration`"
    assert all(len(rows.splitlines()) > 10 for rows in TABLES.values())
