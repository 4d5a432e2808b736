"""Lists of what a caller sees: whole, in pages, and shared by all who see the same."""

import dataclasses
import json

import msgspec
import pytest

from adapters.crypto.sealing import AesGcmSealer
from core.call import Inbound, Result
from core.errors import Reason, Refused
from core.snapshot import CompiledTool
from data_plane.endpoint_view import EndpointView
from data_plane.snapshots import TenantSnapshot
from data_plane.stages import lists
from data_plane.stages.lists import PAGES_KEPT
from tests.data_plane.stages.builders import inbound, snapshot

SEALER = AesGcmSealer()


def listing(params: bytes = b"{}", method: str = "tools/list") -> Inbound:
    return msgspec.structs.replace(inbound(method=method), params=params)


def page(asked: Inbound, rules: TenantSnapshot, view: EndpointView, visible: tuple[CompiledTool, ...]) -> Result:
    return lists.page(asked, view, visible, rules.lists, rules.secrets, SEALER, 0.0, "1")


def paged(view: EndpointView, size: int) -> EndpointView:
    return dataclasses.replace(view, catalogue=msgspec.structs.replace(view.catalogue, page_size=size))


def names(result: Result) -> list[str]:
    return [tool["name"] for tool in json.loads(result.result)["tools"]]


def cursor_of(result: Result) -> bytes:
    return msgspec.json.encode({"cursor": json.loads(result.result)["nextCursor"]})


def test_callers_that_see_the_same_tools_share_the_same_bytes_and_others_do_not() -> None:
    rules = snapshot()
    view = rules.endpoints["default"]
    every, one = view.catalogue.tools, view.catalogue.tools[:1]
    first, again = (page(listing(), rules, view, every) for _ in range(2))
    assert first.result is again.result
    other = page(listing(), rules, view, one)
    assert (names(first), names(other)) == (["tool-0", "tool-1"], ["tool-0"])
    assert first.etag == again.etag != other.etag


def test_pages_join_to_the_whole_list_in_its_order() -> None:
    rules = snapshot()
    view = paged(rules.endpoints["default"], 1)
    first = page(listing(), rules, view, view.catalogue.tools)
    second = page(listing(cursor_of(first)), rules, view, view.catalogue.tools)
    assert names(first) + names(second) == ["tool-0", "tool-1"]
    assert "nextCursor" not in json.loads(second.result)


def test_a_cursor_is_good_for_its_own_list_only() -> None:
    rules = snapshot()
    view = paged(rules.endpoints["default"], 1)
    cursor = cursor_of(page(listing(), rules, view, view.catalogue.tools))
    shorter = view.catalogue.tools[:1]
    elsewhere = msgspec.structs.replace(listing(cursor), server="time")
    for asked, visible in (
        (listing(cursor), shorter),
        (listing(cursor, "prompts/list"), view.catalogue.tools),
        (elsewhere, view.catalogue.tools),
    ):
        with pytest.raises(Refused) as refusal:
            page(asked, rules, view, visible)
        assert refusal.value.reason is Reason.INVALID


def test_pages_are_kept_for_so_many_kinds_of_callers_and_no_more() -> None:
    rules = snapshot()
    view = rules.endpoints["default"]
    for n in range(PAGES_KEPT + 10):
        tool = msgspec.structs.replace(view.catalogue.tools[0], definition=b'{"name":"%d"}' % n)
        page(listing(), rules, view, (tool,))
    assert len(rules.lists) == PAGES_KEPT


@pytest.mark.parametrize("params", [b'{"cursor":"made up"}', b'{"cursor":7}', b'{"cursor":""}'])
def test_a_cursor_that_was_never_given_is_refused(params: bytes) -> None:
    rules = snapshot()
    view = rules.endpoints["default"]
    with pytest.raises(Refused) as refusal:
        page(listing(params), rules, view, view.catalogue.tools)
    assert refusal.value.reason is Reason.INVALID
    assert "params.cursor" in refusal.value.public


def test_no_cursor_and_the_word_elsewhere_are_no_cursor() -> None:
    rules = snapshot()
    view = rules.endpoints["default"]
    for params in (b'{"cursor":null}', b'{"_meta":{"x":"\\"cursor\\""}}'):
        assert names(page(listing(params), rules, view, view.catalogue.tools))


def test_members_that_could_not_be_looked_at_are_named() -> None:
    rules = snapshot()
    view = rules.endpoints["default"]
    partial = dataclasses.replace(
        view, catalogue=msgspec.structs.replace(view.catalogue, unavailable=("time",)), digest=b"other"
    )
    assert json.loads(page(listing(), rules, partial, ()).result)["_meta"]["toolgate/unavailable"] == ["time"]
