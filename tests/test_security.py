"""docs/security.md: every file and every test it names is there, and every row names both."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = [
    line
    for line in (ROOT / "docs/security.md").read_text().splitlines()
    if line.startswith("| ") and line.count(" | ") == 2 and "::" in line
]
THREATS = {"Identity", "Policy and limits", "Guard", "Servers", "The edge", "Between the planes"} | {
    "Records and secrets",
    "Supply chain",
}


def test_every_threat_names_what_stops_it_and_a_test_and_both_are_there() -> None:
    assert len(ROWS) > 60
    for row in ROWS:
        _, stopped, tested = (cell.strip() for cell in row.strip("| ").split(" | "))
        files, tests = re.findall(r"`([^`]+)`", stopped), re.findall(r"`([^`]+)`", tested)
        assert files, row
        assert tests, row
        for name in files:
            assert (ROOT / name).is_file(), name
        for name in tests:
            path, _, test = name.partition("::")
            assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text(), re.MULTILINE), name


def test_no_row_and_no_stage_is_without_a_test() -> None:
    text = (ROOT / "docs/security.md").read_text()
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert sections.keys() >= THREATS
    for name in THREATS:
        table = [line for line in sections[name].splitlines() if line.startswith("| ")]
        assert [line for line in table[1:] if "::" not in line] == [], name
    for linked in ("README.md", "SECURITY.md"):
        assert "docs/security.md" in (ROOT / linked).read_text()
