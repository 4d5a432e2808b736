"""What a caller may hear of, and what a session settles."""

import json

import msgspec
import pytest

from core.call import Inbound, Route, Subject
from core.errors import Reason, Refused
from core.server import HttpTransport
from core.snapshot import Backend, Offer
from data_plane.sessions import MAX_URIS, NOTHING, Notes
from data_plane.stages import listening
from data_plane.stages.listening import Filter
from tests.data_plane.stages.builders import inbound


def asking(params: object, method: str = "subscriptions/listen") -> Inbound:
    return msgspec.structs.replace(inbound(method=method), params=msgspec.json.encode(params))


def to(*offers: Offer) -> frozenset[Offer]:
    return frozenset(offers)


def subject(exposed: str, method: str = "notifications/resources/updated") -> Subject:
    backend = Backend(server="files", transport=HttpTransport(url="http://x"))
    return Subject(method=method, exposed=exposed, route=Route(tenant="acme", backend=backend, tool=exposed))  # type: ignore[arg-type]


def test_only_what_the_endpoint_can_tell_is_honoured() -> None:
    everything = {
        "toolsListChanged": True,
        "promptsListChanged": True,
        "resourcesListChanged": True,
        "resourceSubscriptions": ["file:///a"],
        "unknown": 1,
    }
    found = listening.wanted(asking({"notifications": everything}), NOTHING, to("tools", "prompts"))
    assert found == Filter(tools_list_changed=True, prompts_list_changed=True, resource_subscriptions=("file:///a",))
    assert listening.wanted(asking({}), NOTHING, to("tools")) == Filter()


def test_the_legacy_stream_hears_of_every_list_and_of_what_its_session_subscribed_to() -> None:
    found = listening.wanted(asking({}, "GET"), Notes(uris=("file:///a",)), to())
    assert found.tools_list_changed
    assert found.resource_subscriptions == ("file:///a",)


@pytest.mark.parametrize(
    "params",
    [
        {"notifications": {"toolsListChanged": "yes"}},
        {"notifications": []},
        {"notifications": {"resourceSubscriptions": ["x"] * (listening.MAX_SUBJECTS + 1)}},
    ],
)
def test_a_filter_that_is_none_is_refused(params: object) -> None:
    with pytest.raises(Refused) as refusal:
        listening.wanted(asking(params), NOTHING, to())
    assert refusal.value.reason is Reason.INVALID


def test_who_does_not_know_tasks_hears_of_none() -> None:
    asked = asking({"notifications": {"taskIds": ["t"]}})
    with pytest.raises(Refused) as refusal:
        listening.wanted(asked, NOTHING, to("tools", "tasks"))
    assert refusal.value.reason is Reason.MISSING_CAPABILITY
    needed = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    assert json.loads(refusal.value.data) == {"requiredCapabilities": needed}
    asked.capabilities = json.dumps(needed).encode()
    assert listening.wanted(asked, NOTHING, to("tools", "tasks")) == Filter(task_ids=("t",))


def test_the_acknowledgement_names_what_will_be_told() -> None:
    subjects = (subject("file:///a"), subject("sealed", "notifications/tasks"))
    told = json.loads(listening.acknowledgement(Filter(tools_list_changed=True), subjects))
    assert told == {
        "notifications": {
            "toolsListChanged": True,
            "resourceSubscriptions": ["file:///a"],
            "taskIds": ["sealed"],
        }
    }
    assert json.loads(listening.acknowledgement(Filter(), ())) == {"notifications": {}}


def test_a_session_settles_its_level_its_resources_and_its_end() -> None:
    level = listening.changed(asking({"level": "error"}, "logging/setLevel"), NOTHING)
    assert level == Notes(log_level="error")
    both = listening.subscribed(listening.subscribed(level, "file:///a"), "file:///b")
    assert listening.subscribed(both, "file:///a") is both
    less = listening.changed(asking({"uri": "file:///a"}, "resources/unsubscribe"), both)
    assert less == Notes(log_level="error", uris=("file:///b",))
    assert listening.changed(asking({}, "DELETE"), both).ended


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("logging/setLevel", {"level": "loud"}),
        ("logging/setLevel", {}),
        ("logging/setLevel", {"level": 7}),
        ("resources/unsubscribe", {}),
        ("resources/unsubscribe", {"uri": None}),
    ],
)
def test_what_settles_nothing_is_refused(method: str, params: object) -> None:
    with pytest.raises(Refused) as refusal:
        listening.changed(asking(params, method), NOTHING)
    assert refusal.value.reason is Reason.INVALID


def test_a_session_has_so_many_subscriptions_and_no_more() -> None:
    full = Notes(uris=tuple(f"file:///{n}" for n in range(MAX_URIS)))
    with pytest.raises(Refused):
        listening.subscribed(full, "file:///more")
