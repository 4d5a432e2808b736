"""What the gateway answers by itself: lists, greetings, pings."""

import json

import msgspec
import pytest

from core.errors import Reason, Refused
from core.snapshot import CompiledTool
from data_plane.stages.answer import PAGES_KEPT, other, tools
from tests.data_plane.stages.builders import inbound, snapshot


def listing(params: bytes = b"{}") -> object:
    return msgspec.structs.replace(inbound(method="tools/list"), params=params)


def test_callers_that_see_the_same_tools_share_the_same_bytes_and_others_do_not() -> None:
    rules = snapshot()
    view = rules.endpoints["default"]
    every, one = view.catalogue.tools, view.catalogue.tools[:1]
    first, again = (tools(listing(), view, every, rules, "1").result for _ in range(2))
    assert first is again
    assert [tool["name"] for tool in json.loads(first)["tools"]] == ["tool-0", "tool-1"]
    assert [tool["name"] for tool in json.loads(tools(listing(), view, one, rules, "1").result)["tools"]] == ["tool-0"]


def test_pages_are_kept_for_so_many_kinds_of_callers_and_no_more() -> None:
    rules = snapshot()
    view = rules.endpoints["default"]
    seen: list[tuple[CompiledTool, ...]] = [(tool,) for tool in view.catalogue.tools for _ in range(PAGES_KEPT)]
    for visible in seen:
        tools(listing(), view, visible, rules, "1")
    assert len(rules.pages) <= PAGES_KEPT


@pytest.mark.parametrize("params", [b'{"cursor":"made up"}', b'{"cursor":7}'])
def test_a_cursor_that_was_never_given_is_refused(params: bytes) -> None:
    rules = snapshot()
    view = rules.endpoints["default"]
    with pytest.raises(Refused) as refusal:
        tools(listing(params), view, view.catalogue.tools, rules, "1")
    assert refusal.value.reason is Reason.INVALID
    assert "params.cursor" in refusal.value.public


def test_no_cursor_and_the_word_elsewhere_are_no_cursor() -> None:
    rules = snapshot()
    view = rules.endpoints["default"]
    for params in (b'{"cursor":null}', b'{"_meta":{"x":"\\"cursor\\""}}'):
        assert tools(listing(params), view, view.catalogue.tools, rules, "1").result


def test_methods_of_the_other_era_and_unknown_ones_are_not_found() -> None:
    view = snapshot().endpoints["default"]
    legacy = msgspec.structs.replace(inbound(method="server/discover"), revision="2025-11-25", era="legacy")
    for request in (legacy, inbound(method="x" * 500)):
        with pytest.raises(Refused) as refusal:
            other(request, view, "1")
        assert refusal.value.reason is Reason.UNKNOWN_METHOD
        assert len(refusal.value.public) < 200
    assert other(inbound(method="ping"), view, "1").result == b"{}"
