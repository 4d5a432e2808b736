"""docs/metrics.md says what the planes really show."""

from tests.harness.metrics import DOCS, TABLES, current


def test_the_documented_metrics_are_those_there_are() -> None:
    text = DOCS.read_text("utf-8")
    assert current(text) == text, "run `python -m tests.harness.metrics`"
    assert all(len(rows.splitlines()) > 10 for rows in TABLES.values())
