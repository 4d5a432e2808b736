"""What the gateway answers by itself: greetings, pings."""

import json

import msgspec
import pytest

from core.errors import Reason, Refused
from core.snapshot import Offer
from data_plane.stages.answer import hello, other
from tests.data_plane.stages.builders import inbound, snapshot


def test_capabilities_are_what_the_caller_is_offered_and_every_list_can_change() -> None:
    view = snapshot().endpoints["default"]
    begun = json.loads(hello(inbound(method="initialize"), view, "s", "1", frozenset({"tools"})).result)
    assert begun["capabilities"] == {"tools": {"listChanged": True}}
    rich = frozenset[Offer]({"tools", "resources", "subscribe", "prompts", "logging", "ui"})
    found = json.loads(hello(inbound(method="initialize"), view, "s", "1", rich).result)["capabilities"]
    assert found == {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "logging": {},
        "extensions": {"io.modelcontextprotocol/ui": {}},
    }
    nothing = json.loads(other(inbound(method="server/discover"), view, "1", frozenset()).result)
    assert nothing["capabilities"] == {}


def test_methods_of_the_other_era_and_unknown_ones_are_not_found() -> None:
    view = snapshot().endpoints["default"]
    legacy = msgspec.structs.replace(inbound(method="server/discover"), revision="2025-11-25", era="legacy")
    for request in (legacy, inbound(method="x" * 500)):
        with pytest.raises(Refused) as refusal:
            other(request, view, "1", frozenset())
        assert refusal.value.reason is Reason.UNKNOWN_METHOD
        assert len(refusal.value.public) < 200
    assert other(inbound(method="ping"), view, "1", frozenset()).result == b"{}"
