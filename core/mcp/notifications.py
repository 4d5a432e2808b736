"""Messages on a call's own stream before its result: whose progress it is, and which log lines were asked for."""

import msgspec
from msgspec import Struct

from core.call import Inbound, Notification
from core.mcp.revisions import META_PREFIX

ELICITED = "notifications/elicitation/complete"
"""Of 2025-11-25: what a URL elicitation sent the user to do is done."""
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""RFC 5424 severities, mildest first."""

_SUBSCRIPTION = META_PREFIX.encode() + b"subscriptionId"


class _Log(Struct):
    level: str


_log = msgspec.json.Decoder(_Log)


def outgoing(notification: Notification, inbound: Inbound) -> bytes | None:
    """The JSON-RPC notification for this caller, or None if it did not ask for such.

    Progress gets the caller's own token. Log messages go out from the level on that a modern request, or a legacy
    session, asked for; a modern request that named none gets none, a legacy session all of them. Elicitations complete
    in sessions of 2025-11-25 alone.
    """
    params = notification.params
    if notification.method == "notifications/progress":
        if inbound.progress_token is None:
            return None
        params = with_member(params, b"progressToken", inbound.progress_token)
    elif notification.method == "notifications/message":
        if not _wanted(params, inbound):
            return None
    elif notification.method == ELICITED and inbound.revision != "2025-11-25":
        return None
    method = msgspec.json.encode(notification.method)
    return b'{"jsonrpc":"2.0","method":' + method + b',"params":' + params + b"}"


def subscribed(notification: Notification, request_id: bytes) -> bytes:
    """The JSON-RPC notification on the stream of a `subscriptions/listen`. `request_id`: of that request, as JSON."""
    method = msgspec.json.encode(notification.method)
    params = _tagged(notification.params, request_id)
    return b'{"jsonrpc":"2.0","method":' + method + b',"params":' + params + b"}"


def unsubscribed(request_id: bytes) -> bytes:
    """The result a `subscriptions/listen` ends with, where the server ends it."""
    return b'{"resultType":"complete","_meta":{"' + _SUBSCRIPTION + b'":' + request_id + b"}}"


def with_member(obj: bytes, name: bytes, value: bytes) -> bytes:
    """A JSON object with one more member, first; the object must not have it."""
    rest = obj.lstrip()[1:].lstrip()
    return b"".join((b'{"', name, b'":', value, b"" if rest[:1] == b"}" else b",", rest))


def _wanted(params: bytes, inbound: Inbound) -> bool:
    if not inbound.log_level:
        return inbound.era == "legacy"
    try:
        level = _log.decode(params).level
    except msgspec.DecodeError:
        return False
    return level in LEVELS and LEVELS.index(level) >= LEVELS.index(inbound.log_level)


def _tagged(params: bytes, request_id: bytes) -> bytes:
    if b'"_meta"' not in params:
        return with_member(params, b"_meta", b'{"' + _SUBSCRIPTION + b'":' + request_id + b"}")
    members = msgspec.json.decode(params, type=dict[str, msgspec.Raw])
    raw = bytes(members.get("_meta", b"{}"))
    meta = msgspec.json.decode(raw if raw[:1] == b"{" else b"{}", type=dict[str, msgspec.Raw])
    meta[_SUBSCRIPTION.decode()] = msgspec.Raw(request_id)
    return msgspec.json.encode(members | {"_meta": meta})
