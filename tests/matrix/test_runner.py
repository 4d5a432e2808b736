"""What the matrix is rendered as, and where it is kept."""

import pytest

from tests.matrix.cells import ABSENT, COLUMNS, Column, Row
from tests.matrix.properties import PROPERTIES
from tests.matrix.runner import BEGIN, END, complaints, rendered, replaced, server

ROW, SCRIPT, COLUMN = Row("2025-11-25", "http"), Row("2026-07-28", "rpc"), Column("legacy", "stdio")


def test_a_cell_says_that_all_holds_or_names_what_does_not() -> None:
    lines = list(rendered({ROW: {COLUMN: {"call": "", "cancel": "no answer"}, COLUMNS[0]: {"call": ""}}}))
    assert lines[0] == "| client \\ server | legacy, stdio | legacy, http |"
    assert lines[2] == "| 2025-11-25 http | not: cancel | all |"
    assert list(complaints({ROW: {COLUMN: {"call": "", "cancel": "no answer"}}})) == [
        "2025-11-25 http | legacy-stdio | cancel: no answer"
    ]


def test_what_cannot_be_is_not_tried_and_the_page_says_why() -> None:
    assert set(PROPERTIES) - set(SCRIPT.properties()) == set(ABSENT["rpc"]) == {"progress", "list_changed"}
    lines = list(rendered({SCRIPT: {COLUMN: dict.fromkeys(SCRIPT.properties(), "")}}))
    assert lines[2] == "| 2026-07-28 rpc | all but progress, list_changed |"
    assert f"- list_changed over rpc: {ABSENT['rpc']['list_changed']}." in lines


def test_the_page_keeps_all_but_the_matrix() -> None:
    assert replaced(f"before\n{BEGIN}\nold\n{END}\nafter\n", "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="must have"):
        replaced("no marks", "new")


def test_a_column_is_a_server_and_an_endpoint_of_its_name() -> None:
    manifests = server(COLUMN, "")
    assert "command:" in manifests
    assert manifests.count("name: legacy-stdio") == 2
    assert "url: ws://here/ws" in server(Column("modern", "websocket"), "ws://here/ws")
