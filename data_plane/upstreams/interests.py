"""What of a server's notifications somebody asked to be told: on the wire of the modern era, and out of what comes."""

import asyncio
from typing import Final

import msgspec

from core.call import Interest, Notification, Notify
from data_plane.upstreams import jsonrpc
from data_plane.upstreams.jsonrpc import Message, NotMcpError

LISTS: Final = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
UPDATED: Final = "notifications/resources/updated"
TASK: Final = "notifications/tasks"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
_SUBSCRIPTION: Final = "io.modelcontextprotocol/subscriptionId"
_TASKS: Final = b'{"extensions":{"io.modelcontextprotocol/tasks":{}}}'


class Kept(msgspec.Struct, frozen=True):
    """What a server said it tells of: a subset of what was asked for."""

    lists: frozenset[str]
    """Methods."""
    resources: tuple[str, ...]
    tasks: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        return not (self.lists or self.resources or self.tasks)


class Ear:
    """Of one who listens. `acknowledged` is set once it is known what the server tells of."""

    def __init__(self, interest: Interest, tell: Notify) -> None:
        self.interest = interest
        self.kept: Kept | None = None
        self.acknowledged = asyncio.Event()
        self.over = asyncio.Event()
        """The channel is gone, or is being left."""
        self._tell = tell

    def keep(self, kept: Kept) -> None:
        self.kept = kept
        self.acknowledged.set()

    def hear(self, message: Message) -> None:
        """A message without an id. Raises NotMcpError."""
        if message.method == ACKNOWLEDGED:
            self.keep(acknowledged(message, self.interest))
        elif self.kept is not None:
            note = told(message, self.kept)
            if note is not None:
                self._tell(note)


def subscribed(interest: Interest, resources: tuple[str, ...]) -> Kept:
    """Of a server of the handshake era, which took subscriptions to these; of tasks it tells nothing."""
    return Kept(frozenset(LISTS) if interest.lists else frozenset(), resources, ())


def listen_members(interest: Interest) -> bytes:
    """Members of the params of `subscriptions/listen`, each with a comma after it."""
    wanted: dict[str, object] = dict.fromkeys(LISTS.values(), True) if interest.lists else {}
    if interest.resources:
        wanted["resourceSubscriptions"] = interest.resources
    if interest.tasks:
        wanted["taskIds"] = interest.tasks
    return b'"notifications":%b,' % jsonrpc.encode(wanted)


def capabilities(interest: Interest) -> bytes:
    """To declare with the request: news of tasks is for those who speak the extension."""
    return _TASKS if interest.tasks else b"{}"


class _Notifications(msgspec.Struct, frozen=True):
    class Honoured(msgspec.Struct, frozen=True):
        tools: bool = msgspec.field(name="toolsListChanged", default=False)
        prompts: bool = msgspec.field(name="promptsListChanged", default=False)
        resources: bool = msgspec.field(name="resourcesListChanged", default=False)
        uris: tuple[str, ...] = msgspec.field(name="resourceSubscriptions", default=())
        tasks: tuple[str, ...] = msgspec.field(name="taskIds", default=())

    notifications: Honoured


def acknowledged(message: Message, interest: Interest) -> Kept:
    """Raises NotMcpError."""
    try:
        said = msgspec.json.decode(message.params, type=_Notifications).notifications
    except msgspec.MsgspecError as failure:
        raise NotMcpError(f"acknowledges what cannot be read: {failure}") from failure
    flags = zip(LISTS, (said.tools, said.prompts, said.resources), strict=True)
    return Kept(
        frozenset(method for method, kept in flags if kept and interest.lists),
        tuple(uri for uri in interest.resources if uri in said.uris),
        tuple(task for task in interest.tasks if task in said.tasks),
    )


def subscription(message: Message) -> object:
    """The id of the listen request a message belongs to; None where it does not say."""
    try:
        meta = jsonrpc.members(jsonrpc.members(message.params).get("_meta", b"{}"))
    except NotMcpError:
        return None
    return jsonrpc.scalar(meta[_SUBSCRIPTION]) if _SUBSCRIPTION in meta else None


def told(message: Message, kept: Kept) -> Notification | None:
    """What to pass on of a message without an id, free of its subscription; None: nobody asked for it."""
    method = message.method or ""
    if method in LISTS:
        return Notification(method, _free(message)) if method in kept.lists else None
    if method not in (UPDATED, TASK):
        return None
    found = jsonrpc.members(message.params)
    about = jsonrpc.scalar(found.get("uri" if method == UPDATED else "taskId", msgspec.Raw(b"null")))
    if not isinstance(about, str):
        return None
    # Subscriptions, "resources/updated": it may name a part of what was subscribed to.
    wanted = about.startswith(kept.resources) if method == UPDATED else about in kept.tasks
    return Notification(method, _free(message)) if wanted else None


def _free(message: Message) -> bytes:
    if not message.params:
        return b"{}"
    found = jsonrpc.members(message.params)
    if "_meta" not in found:
        return bytes(message.params)
    meta = jsonrpc.members(found.pop("_meta"))
    meta.pop(_SUBSCRIPTION, None)
    if meta:
        found["_meta"] = msgspec.Raw(jsonrpc.encode(meta))
    return jsonrpc.encode(found)
