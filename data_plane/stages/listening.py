"""What a caller may hear of after its request is answered, and what a legacy session settles for its later ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from core.errors import Reason, Refused
from core.mcp.extensions import TASKS, require
from core.mcp.notifications import LEVELS
from data_plane.sessions import MAX_URIS, Notes

if TYPE_CHECKING:
    from core.call import Inbound, Subject
    from core.snapshot import Offer

MAX_SUBJECTS: Final = 256
"""Resources and tasks of one `subscriptions/listen`."""
STREAMS: Final = {"modern": "subscriptions/listen", "legacy": "GET"}
"""What is answered with a stream, by era."""
UPDATED: Final = "notifications/resources/updated"
TASK: Final = "notifications/tasks"
"""What a stream tells of single resources and tasks with."""

SETTINGS: Final = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe", "DELETE"})
"""Requests of a legacy session that settle something for it. DELETE ends it."""


class Filter(msgspec.Struct, frozen=True, rename="camel"):
    """`params.notifications` of `subscriptions/listen`; what is not there is not wanted."""

    tools_list_changed: bool = False
    prompts_list_changed: bool = False
    resources_list_changed: bool = False
    resource_subscriptions: tuple[str, ...] = ()
    task_ids: tuple[str, ...] = ()


class _Listen(msgspec.Struct):
    notifications: Filter = Filter()


class _Level(msgspec.Struct):
    level: str


class _Uri(msgspec.Struct):
    uri: str


_EVERYTHING: Final = Filter(tools_list_changed=True, prompts_list_changed=True, resources_list_changed=True)


def wanted(inbound: Inbound, notes: Notes, offers: frozenset[Offer]) -> Filter:
    """What the caller wants of what the endpoint can tell: `offers`, to this caller. Raises Refused(INVALID), and
    MISSING_CAPABILITY where it wants to hear of tasks and did not declare that it knows them.
    """
    if inbound.method == "GET":
        return msgspec.structs.replace(_EVERYTHING, resource_subscriptions=notes.uris)
    try:
        asked = msgspec.json.decode(inbound.params, type=_Listen).notifications
    except msgspec.ValidationError as failure:
        raise Refused(Reason.INVALID, f"params: {failure}") from failure
    if len(asked.resource_subscriptions) + len(asked.task_ids) > MAX_SUBJECTS:
        raise Refused(Reason.INVALID, f"params.notifications may name at most {MAX_SUBJECTS} resources and tasks")
    if asked.task_ids:
        require(TASKS, inbound.capabilities, "params.notifications.taskIds")
    return msgspec.structs.replace(
        asked,
        prompts_list_changed=asked.prompts_list_changed and "prompts" in offers,
        resources_list_changed=asked.resources_list_changed and "resources" in offers,
    )


def acknowledgement(honoured: Filter, subjects: tuple[Subject, ...]) -> bytes:
    """Params of `notifications/subscriptions/acknowledged`, without the subscription's id: the subset honoured."""
    flags = {
        "toolsListChanged": honoured.tools_list_changed,
        "promptsListChanged": honoured.prompts_list_changed,
        "resourcesListChanged": honoured.resources_list_changed,
        "resourceSubscriptions": [s.exposed for s in subjects if s.method == UPDATED],
        "taskIds": [s.exposed for s in subjects if s.method == TASK],
    }
    return msgspec.json.encode({"notifications": {name: value for name, value in flags.items() if value}})


def changed(inbound: Inbound, notes: Notes) -> Notes:
    """The session after a request that settles something, besides subscribing. Raises Refused(INVALID)."""
    if inbound.method == "logging/setLevel":
        return msgspec.structs.replace(notes, log_level=level(inbound))
    if inbound.method == "DELETE":
        return Notes(ended=True)
    return unsubscribed(notes, uri(inbound))


def unknown(asked: str) -> Refused:
    """No such resource, or not for this caller, or its server does not tell of changes."""
    return Refused(Reason.UNKNOWN_TOOL, "Resource not found", detail=asked[:200])


def level(inbound: Inbound) -> str:
    """Of `logging/setLevel`. Raises Refused(INVALID)."""
    try:
        chosen = msgspec.json.decode(inbound.params, type=_Level).level
    except msgspec.DecodeError as failure:
        raise Refused(Reason.INVALID, "params.level must be a string") from failure
    if chosen not in LEVELS:
        raise Refused(Reason.INVALID, f"params.level must be one of {', '.join(LEVELS)}")
    return chosen


def uri(inbound: Inbound) -> str:
    """Of `resources/subscribe` and `resources/unsubscribe`. Raises Refused(INVALID)."""
    try:
        return msgspec.json.decode(inbound.params, type=_Uri).uri
    except msgspec.DecodeError as failure:
        raise Refused(Reason.INVALID, "params.uri must be a string") from failure


def subscribed(notes: Notes, added: str) -> Notes:
    """Raises Refused(INVALID) at the cap."""
    if added in notes.uris:
        return notes
    if len(notes.uris) >= MAX_URIS:
        raise Refused(Reason.INVALID, f"a session may subscribe to at most {MAX_URIS} resources")
    return msgspec.structs.replace(notes, uris=(*notes.uris, added))


def unsubscribed(notes: Notes, removed: str) -> Notes:
    return msgspec.structs.replace(notes, uris=tuple(kept for kept in notes.uris if kept != removed))
