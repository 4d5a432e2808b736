"""Every way in which a policy can fail has a row in docs/resources.md, and every row a test."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (?P<what>[^|]+) \| (?P<then>[^|]+) \| `(?P<file>tests/[\w/]+\.py)::(?P<test>test_\w+)` \|$")
LEAST = 14


def test_every_way_a_policy_fails_is_tested() -> None:
    table = (ROOT / "docs/resources.md").read_text().partition("### When a policy fails")[2].partition("\n## ")[0]
    rows = [ROW.match(line) for line in table.splitlines() if line.startswith("| ")][1:]
    assert all(rows), "every row names one test"
    assert len(rows) >= LEAST
    missing = [
        f"{row['file']}::{row['test']}"
        for row in rows
        if row is not None and not re.search(rf"def {row['test']}\(", (ROOT / row["file"]).read_text())
    ]
    assert missing == []
