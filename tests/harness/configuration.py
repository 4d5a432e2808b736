"""Write the tables of docs/configuration.md: `python -m tests.harness.configuration`."""

from pathlib import Path

from control_plane import settings as control_plane
from core.options import table
from data_plane import settings as data_plane
from tests.harness.tables import filled

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
TABLES = {"control-plane": table(control_plane.OPTIONS), "gateway": table(data_plane.OPTIONS)}


def current(text: str) -> str:
    """`text` with each table as the options are now. Raises ValueError where a table's markers are missing."""
    return filled(text, TABLES)


if __name__ == "__main__":
    DOCS.write_text(current(DOCS.read_text("utf-8")), "utf-8")
