"""URIs and task ids in messages, changed everywhere they appear and nowhere else; all other bytes stay.

An endpoint shows a URI under another name only where two of its servers have the same one. Then it has that name in
every place that MCP has for it: listed, read, embedded, linked, announced as changed, completed.
"""

from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct

Rename = Callable[[str], str]
Members = dict[str, Raw]

_members = msgspec.json.Decoder(Members)
_list = msgspec.json.Decoder(list[Raw])
_encode = msgspec.json.encode


class _TaskRef(Struct):
    task_id: str = msgspec.field(name="taskId", default="")


def result(value: bytes, method: str, rename: Rename) -> bytes:
    """A server's result as the endpoint shows it. `rename`: URI at the server to exposed URI.

    Raises msgspec.DecodeError for what is no result of that method.
    """
    if b'"uri"' not in value:
        return value
    members = _members.decode(value)
    before = dict(members)
    if method == "resources/read":
        _each(members, "contents", lambda item: _uri(item, rename))
    elif method == "prompts/get":
        _each(members, "messages", lambda message: _message(message, rename))
    else:
        _each(members, "content", lambda item: _content(item, rename))
    asked = members.get("inputRequests")
    if asked is not None and bytes(asked)[:1] == b"{":
        members["inputRequests"] = _asked(asked, rename)
    inner = members.get("result")
    if method.startswith("tasks/") and inner is not None and bytes(inner)[:1] == b"{":
        # The tasks extension: what the tool answered, once the task is done.
        members["result"] = Raw(result(bytes(inner), "tools/call", rename))
    return value if members == before else _encode(members)


def question(params: bytes, rename: Rename) -> bytes:
    """Params of a server's question: of those that exist, the messages of `sampling/createMessage` may hold URIs."""
    if b'"uri"' not in params:
        return params
    members = _members.decode(params)
    before = dict(members)
    _each(members, "messages", lambda message: _message(message, rename))
    return params if members == before else _encode(members)


def updated(params: bytes, rename: Rename) -> bytes:
    """Params of `notifications/resources/updated`."""
    return bytes(_uri(Raw(params), rename))


def task_id(value: bytes) -> str:
    """The `taskId` of a task's result or notification; empty if it has none."""
    try:
        return msgspec.json.decode(value, type=_TaskRef).task_id if b'"taskId"' in value else ""
    except msgspec.DecodeError:
        return ""


def with_task_id(value: bytes, exposed: str) -> bytes:
    members = _members.decode(value)
    members["taskId"] = Raw(_encode(exposed))
    return _encode(members)


def _asked(requests: Raw, rename: Rename) -> Raw:
    """`inputRequests`: questions by key."""
    members = _members.decode(requests)
    changed = dict(members)
    for key, raw in members.items():
        if bytes(raw)[:1] == b"{" and b'"uri"' in bytes(raw):
            one = _members.decode(raw)
            params = one.get("params")
            if params is not None and bytes(params)[:1] == b"{":
                changed[key] = Raw(_encode(one | {"params": Raw(question(bytes(params), rename))}))
    return requests if changed == members else Raw(_encode(changed))


def _each(members: Members, name: str, change: Callable[[Raw], Raw]) -> None:
    raw = members.get(name)
    if raw is None or bytes(raw)[:1] != b"[":
        return
    items = _list.decode(raw)
    changed = [change(item) for item in items]
    if changed != items:
        members[name] = Raw(_encode(changed))


def _message(message: Raw, rename: Rename) -> Raw:
    if bytes(message)[:1] != b"{":
        return message
    members = _members.decode(message)
    content = members.get("content")
    if content is None:
        return message
    changed = dict(members)
    _each(changed, "content", lambda item: _content(item, rename))  # Since 2025-11-25 there may be several.
    changed["content"] = _content(changed["content"], rename)
    return message if changed == members else Raw(_encode(changed))


def _content(item: Raw, rename: Rename) -> Raw:
    """A content block: `resource` embeds one, `resource_link` names one, `tool_result` holds some."""
    if bytes(item)[:1] != b"{" or b'"uri"' not in bytes(item):
        return item
    members = _members.decode(item)
    kind = bytes(members.get("type", Raw(b"")))
    if kind == b'"tool_result"':
        changed = dict(members)
        _each(changed, "content", lambda inner: _content(inner, rename))
        return item if changed == members else Raw(_encode(changed))
    if kind == b'"resource_link"':
        return _uri(item, rename)
    embedded = members.get("resource")
    if kind != b'"resource"' or embedded is None:
        return item
    renamed = _uri(embedded, rename)
    return item if renamed == embedded else Raw(_encode(members | {"resource": renamed}))


def _uri(item: Raw, rename: Rename) -> Raw:
    """An object with a member `uri`."""
    if bytes(item)[:1] != b"{":
        return item
    members = _members.decode(item)
    raw = bytes(members.get("uri", Raw(b"")))
    if raw[:1] != b'"':
        return item
    uri = msgspec.json.decode(raw, type=str)
    exposed = rename(uri)
    return item if exposed == uri else Raw(_encode(members | {"uri": Raw(_encode(exposed))}))
