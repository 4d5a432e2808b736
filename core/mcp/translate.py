"""Results between revisions. Only what must change is touched: all else keeps its bytes, order and unknown members.

A result object is read one level deep, its values staying raw; one that needs no change is returned as it came.
"""

from functools import lru_cache

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from core.call import Era
from core.errors import Reason, Unavailable
from core.mcp.notifications import with_member
from core.mcp.results import SERVER_INFO_KEY, tool_error_result
from core.mcp.revisions import META_PREFIX, MODERN

_MODERN_MEMBERS = ("resultType", "ttlMs", "cacheScope")
_HINTED = frozenset({"tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"})
_LISTED = {
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
_COMPLETE = b'"complete"'
_PROTOCOLS = META_PREFIX.rstrip("/").encode()
"""Without its slash, which some writers of JSON escape."""
_NO_INPUT = "The server asks for input, and this session has no way to give it."

Members = dict[str, Raw]


class _Top(Struct):
    result_type: Raw | UnsetType = field(default=UNSET, name="resultType")
    meta: Raw | UnsetType = field(default=UNSET, name="_meta")
    ttl_ms: Raw | UnsetType = field(default=UNSET, name="ttlMs")
    cache_scope: Raw | UnsetType = field(default=UNSET, name="cacheScope")


_top = msgspec.json.Decoder(_Top)
_members = msgspec.json.Decoder(Members)
_list = msgspec.json.Decoder(list[Raw])
_encode = msgspec.json.encode


def result(value: bytes, *, method: str, upstream: Era | None, revision: str, server_info: bytes) -> bytes:
    """`value` as a client of `revision` expects it.

    `upstream`: era of the server it came from; None for the gateway's own results, which are made in the modern form.
    `server_info`: the gateway's Implementation object. Raises Unavailable if the upstream's result is not an object,
    or is none that a client of `revision` can be told.
    """
    try:
        if revision in MODERN:
            return value if upstream is None else _up(value, method, server_info)
        if upstream == "legacy" and revision >= "2025-06-18":
            return value
        return _down(value, method, revision)
    except msgspec.DecodeError as failure:
        raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "the tool's server answered what is not MCP") from failure


def _up(value: bytes, method: str, server_info: bytes) -> bytes:
    top = _top.decode(value)
    if top.result_type is not UNSET and top.meta is not UNSET:
        return value
    if top.meta is UNSET:
        if top.result_type is UNSET and method not in _HINTED:
            return with_member(value, b"resultType", _complete_with(server_info))
        value = with_member(value, b"_meta", _only_server_info(server_info))
    if top.result_type is not UNSET:
        return value
    if top.meta is not UNSET:
        meta = _with_server_info(bytes(top.meta), server_info)
        value = _encode(_members.decode(value) | {"_meta": Raw(meta)}) if meta != bytes(top.meta) else value
    if method in _HINTED:
        value = value if top.ttl_ms is not UNSET else with_member(value, b"ttlMs", b"0")
        value = value if top.cache_scope is not UNSET else with_member(value, b"cacheScope", b'"private"')
    return with_member(value, b"resultType", _COMPLETE)


@lru_cache(16)
def _complete_with(server_info: bytes) -> bytes:
    """The value of `resultType`, and the `_meta` behind it."""
    return _COMPLETE + b',"_meta":' + _only_server_info(server_info)


@lru_cache(16)
def _only_server_info(server_info: bytes) -> bytes:
    """The `_meta` of a result that had none."""
    return _with_server_info(b"{}", server_info)


def _with_server_info(meta: bytes, server_info: bytes) -> bytes:
    """A server's own stays. What is no object is nothing that a client could read."""
    if meta[:1] != b"{":
        meta = b"{}"
    if b"serverInfo" in meta and SERVER_INFO_KEY in _members.decode(meta):
        return meta
    return with_member(meta, SERVER_INFO_KEY.encode(), server_info)


def _down(value: bytes, method: str, revision: str) -> bytes:
    members = _members.decode(value)
    kind = bytes(members.get("resultType", Raw(_COMPLETE)))
    if kind != _COMPLETE:
        if method != "tools/call":
            raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, _NO_INPUT)
        members = _members.decode(tool_error_result(_NO_INPUT))
    before = dict(members)
    for name in _MODERN_MEMBERS:
        members.pop(name, None)
    _strip_meta(members)
    if method == "tools/call":
        _downgrade_call(members, revision)
    elif method == "tools/list" and (revision < "2025-06-18" or b'"outputSchema"' in value):
        _downgrade_list(members, revision)
    elif method == "prompts/get" and revision < "2025-06-18":
        _downgrade_messages(members, revision)
    elif method in _LISTED and revision < "2025-06-18" and b'"title"' in value:
        _untitle(members, _LISTED[method])
    return value if members == before else _encode(members)


def _strip_meta(members: Members) -> None:
    """Members of `_meta` that belong to the modern protocol go; a vendor's own stay."""
    raw = members.get("_meta")
    if raw is None or bytes(raw)[:1] != b"{" or _PROTOCOLS not in bytes(raw):
        return
    kept = {key: item for key, item in _members.decode(raw).items() if not key.startswith(META_PREFIX)}
    if kept:
        members["_meta"] = Raw(_encode(kept))
    else:
        del members["_meta"]


def _downgrade_call(members: Members, revision: str) -> None:
    structured = members.get("structuredContent")
    if structured is not None and (revision < "2025-06-18" or bytes(structured)[:1] != b"{"):
        del members["structuredContent"]
    if revision < "2025-06-18" and "content" in members:
        items = _list.decode(members["content"])
        members["content"] = Raw(_encode([_downgrade_content(item, revision) for item in items]))


def _downgrade_messages(members: Members, revision: str) -> None:
    messages = []
    for raw in _list.decode(members.get("messages", Raw(b"[]"))):
        message = _members.decode(raw)
        content = message.get("content")
        lower = _downgrade_content(content, revision) if content is not None and bytes(content)[:1] == b"{" else content
        messages.append(raw if lower is content else Raw(_encode(message | {"content": lower})))
    members["messages"] = Raw(_encode(messages))


def _untitle(members: Members, listed: str) -> None:
    """Names for people came with 2025-06-18: before, there was one name for programs and people."""
    entries = []
    for raw in _list.decode(members.get(listed, Raw(b"[]"))):
        entry = _members.decode(raw)
        entries.append(raw if entry.pop("title", None) is None else Raw(_encode(entry)))
    members[listed] = Raw(_encode(entries))


def _downgrade_content(item: Raw, revision: str) -> Raw:
    members = _members.decode(item)
    kind = _text(members, "type")
    if kind == "resource_link":
        text = f"{_text(members, 'name')}: {_text(members, 'uri')}".removeprefix(": ")
    elif kind == "audio" and revision < "2025-03-26":
        text = f"[audio, {_text(members, 'mimeType')}: this session's protocol revision cannot carry it]"
    else:
        return item
    return Raw(_encode({"type": "text", "text": text}))


def _downgrade_list(members: Members, revision: str) -> None:
    if "tools" not in members:
        return
    tools = []
    for raw in _list.decode(members["tools"]):
        tool = _members.decode(raw)
        schema = tool.get("outputSchema")
        drop = [] if schema is None or (revision >= "2025-06-18" and _is_object_schema(schema)) else ["outputSchema"]
        if revision < "2025-06-18" and "title" in tool:
            drop.append("title")
        for name in drop:
            del tool[name]
        tools.append(Raw(_encode(tool)) if drop else raw)
    members["tools"] = Raw(_encode(tools))


def _is_object_schema(schema: Raw) -> bool:
    return bytes(schema)[:1] == b"{" and bytes(_members.decode(schema).get("type", Raw(b""))) == b'"object"'


def _text(members: Members, name: str) -> str:
    raw = bytes(members.get(name, Raw(b"")))
    return msgspec.json.decode(raw, type=str) if raw[:1] == b'"' else ""
