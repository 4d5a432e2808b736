"""From an HTTP request to an Inbound: which era it speaks, and the rules of that era's wire, in order.

The era is decided per request and from the body first: `params._meta` naming a protocol version makes it modern,
whatever the headers say; else a version header that is not one of the handshake's does. The rest is legacy.
"""

import re

import msgspec
from msgspec import Raw, Struct, field

from core.call import Era, Inbound
from core.mcp.errors import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    UNSUPPORTED_VERSION,
    Rejected,
)
from core.mcp.headers import Head, decode_params, decode_value
from core.mcp.jsonrpc import MAX_ID_BYTES, Message
from core.mcp.notifications import LEVELS
from core.mcp.revisions import LEGACY, META_PREFIX, MODERN, negotiate, unsupported

_VERSION_KEY = META_PREFIX + "protocolVersion"
_CAPABILITIES_KEY = META_PREFIX + "clientCapabilities"
_NONE = Raw(b"")
_MAX_CAPABILITIES_BYTES = 16 * 1024
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_MAX_TRACESTATE = 512

REMOVED = frozenset({"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""Methods of the handshake revisions that 2026-07-28 no longer has."""

_OWN = frozenset({"GET", "DELETE", "connect", "status", "introspection"})
"""What fronts ask of the pipeline on a client's behalf, and no client by itself."""

_NOTIFICATION = "notifications/"
"""What the methods of all notifications begin with, and of no request."""

_NAMED = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""Method to the member of its params that `Mcp-Name` repeats."""

_LOG_LEVEL_KEY = META_PREFIX + "logLevel"
_CARRIED = frozenset({"progressToken", "traceparent", "tracestate"})
"""Members of `_meta` that have a place of their own in an Inbound, as all have that begin with META_PREFIX."""
_USUAL = _CARRIED | {_VERSION_KEY, _CAPABILITIES_KEY, _LOG_LEVEL_KEY, META_PREFIX + "clientInfo"}
"""What most requests have in `_meta`, and nothing besides."""

_KINDS = {"name": "a name", "uri": "a URI", "taskId": "a task's id"}


class _Params(Struct):
    meta: Raw = field(default=_NONE, name="_meta")
    name: Raw = _NONE
    uri: Raw = _NONE
    task_id: Raw = field(default=_NONE, name="taskId")
    arguments: Raw = _NONE
    request_state: Raw = field(default=_NONE, name="requestState")
    input_responses: Raw = field(default=_NONE, name="inputResponses")
    protocol_version: Raw = field(default=_NONE, name="protocolVersion")
    capabilities: Raw = _NONE


class _Cancelled(Struct):
    request_id: Raw = field(name="requestId")


_cancelled = msgspec.json.Decoder(_Cancelled)
_params = msgspec.json.Decoder(_Params)
_members = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str)
_NO_PARAMS = _Params()


class Arrival(Struct):
    """A message with the parts its rules look at, and its era."""

    message: Message
    head: Head
    era: Era
    params: _Params
    meta: dict[str, Raw]
    """Members of `params._meta`; empty where that is no object."""
    version: str
    """`MCP-Protocol-Version` as received, empty if absent."""
    mirrored: bool = True
    """Came over HTTP, where headers repeat what the body says; other transports have the body alone."""


def arrive_bare(message: Message, session: bytes = b"") -> Arrival:
    """As `arrive`, of a message that has no headers of its own: on a WebSocket, an event stream's, a script's.

    `session`: the sealed id of the one that the conversation began; empty before that.
    """
    arrival = arrive(message, Head({b"mcp-session-id": session} if session else {}))
    stated = arrival.meta.get(_VERSION_KEY)
    arrival.version, arrival.mirrored = (_string(bytes(stated)) or "" if stated is not None else ""), False
    return arrival


def arrive(message: Message, head: Head) -> Arrival:
    """Reads the members that matter and decides the era. Breaks no rule yet."""
    params = _params.decode(message.params) if message.params else _NO_PARAMS
    meta = _members.decode(params.meta) if params.meta and bytes(params.meta)[0] == 0x7B else {}
    version = head.text(b"mcp-protocol-version")
    modern = _VERSION_KEY in meta or bool(version and version not in LEGACY)
    return Arrival(message, head, "modern" if modern else "legacy", params, meta, version)


def arrive_plain(message: Message) -> Arrival:
    """As `arrive_bare`, where a request without an envelope is one of the newest revision, of a client that has no
    capabilities."""
    arrival = arrive_bare(message)
    if _VERSION_KEY in arrival.meta:
        return arrival
    params = _members.decode(message.params or b"{}")
    envelope = {_VERSION_KEY: Raw(msgspec.json.encode(MODERN[0])), _CAPABILITIES_KEY: Raw(b"{}")}
    params["_meta"] = Raw(msgspec.json.encode(envelope | arrival.meta))
    return arrive_bare(msgspec.structs.replace(message, params=msgspec.json.encode(params)))


def understand(arrival: Arrival, inbound_id: str, tenant: str | None, endpoint: str) -> Inbound:
    """The request as the pipeline takes it. Raises Rejected with the first rule of the era's ladder that it breaks."""
    inbound = Inbound(
        id=inbound_id,
        tenant=tenant,
        endpoint=endpoint,
        transport="streamable_http",
        era=arrival.era,
        revision=arrival.version,
        method=arrival.message.method,
        credential=b"",
        params=arrival.message.params or b"{}",
    )
    if arrival.era == "modern":
        _check_modern(arrival, inbound)
    else:
        _check_legacy(arrival, inbound)
    if inbound.method in _OWN:
        status = 404 if arrival.era == "modern" else 200
        raise Rejected(
            status, METHOD_NOT_FOUND, f"Method not found: {inbound.method}", id=arrival.message.id or b"null"
        )
    if inbound.method in _NAMED:
        _read_named(arrival, inbound)
    elif inbound.method == "completion/complete":
        inbound.arguments = _completion(arrival)
    if arrival.meta:
        _read_meta(arrival, inbound)
    return inbound


def cancelled_id(params: bytes) -> bytes:
    """The request id a `notifications/cancelled` names, as JSON; empty if it names none."""
    try:
        raw = bytes(_cancelled.decode(params).request_id)
    except msgspec.DecodeError:
        return b""
    return raw if len(raw) <= MAX_ID_BYTES else b""


def modern_notification(arrival: Arrival) -> None:
    """A notification of this era has nothing to act on; only its version is checked."""
    requested = arrival.version or MODERN[0]
    if requested not in MODERN:
        raise Rejected(400, UNSUPPORTED_VERSION, "Unsupported protocol version", data=unsupported(requested))


def _check_modern(arrival: Arrival, inbound: Inbound) -> None:
    """MCP 2026-07-28, Streamable HTTP: the order of these checks is the protocol's, a client may rely on it."""
    id_, meta, version = arrival.message.id, arrival.meta, arrival.version
    if arrival.head.twice:
        raise Rejected(400, HEADER_MISMATCH, f"the {arrival.head.twice.decode()} header came more than once", id=id_)
    stated = bytes(meta.get(_VERSION_KEY, _NONE))
    if inbound.method == "initialize" and not stated:
        raise Rejected(400, UNSUPPORTED_VERSION, f"{version} has no initialize", id=id_, data=unsupported(version))
    capabilities = bytes(meta.get(_CAPABILITIES_KEY, _NONE))
    if not stated or not capabilities:
        missing = [key for key, raw in ((_VERSION_KEY, stated), (_CAPABILITIES_KEY, capabilities)) if not raw]
        raise Rejected(400, INVALID_PARAMS, f"params._meta must be an object with {' and '.join(missing)}", id=id_)
    if _string(stated) != version:
        raise _mismatch("MCP-Protocol-Version", _VERSION_KEY, id_)
    if arrival.mirrored:
        if arrival.head.text(b"mcp-method") != inbound.method:
            raise _mismatch("Mcp-Method", "method", id_)
        _check_name(arrival)
    if version not in MODERN:
        raise Rejected(400, UNSUPPORTED_VERSION, "Unsupported protocol version", id=id_, data=unsupported(version))
    if inbound.method in REMOVED or inbound.method.startswith(_NOTIFICATION):
        raise Rejected(404, METHOD_NOT_FOUND, f"Method not found: {inbound.method}", id=id_)
    inbound.capabilities = _capabilities(capabilities, _CAPABILITIES_KEY, id_)
    if _LOG_LEVEL_KEY in meta:
        inbound.log_level = _log_level(bytes(meta[_LOG_LEVEL_KEY]), id_)
    if not arrival.mirrored:
        inbound.header_params = None
    elif arrival.head.params:
        inbound.header_params = decode_params(arrival.head, id_)


def _check_name(arrival: Arrival) -> None:
    member = _NAMED.get(arrival.message.method)
    if member is None:
        return
    stated = _stated(arrival, member)
    if stated in (b"", b"null"):
        return
    header = arrival.head.values.get(b"mcp-name")
    if header is None or not (_is_plainly(stated, header) or decode_value(header) == _string(stated)):
        raise _mismatch("Mcp-Name", f"params.{member}", arrival.message.id)


def _is_plainly(stated: bytes, header: bytes) -> bool:
    """Whether they are the same as they stand: what JSON escapes, and the sentinel, have to be decoded first."""
    return stated == b'"%b"' % header and header.isascii() and b"\\" not in header and header[:2] != b"=?"


def _check_legacy(arrival: Arrival, inbound: Inbound) -> None:
    id_ = arrival.message.id or b"null"
    if arrival.head.twice == b"mcp-protocol-version":
        raise Rejected(400, INVALID_REQUEST, "the mcp-protocol-version header came more than once", id=id_)
    if inbound.method == "initialize" and arrival.message.id:
        requested = _string(bytes(arrival.params.protocol_version))
        if requested is None:
            raise Rejected(200, INVALID_PARAMS, "params.protocolVersion must be a string", id=id_)
        inbound.revision = negotiate(requested)
        inbound.capabilities = _capabilities(bytes(arrival.params.capabilities) or b"{}", "params.capabilities", id_)
        return
    inbound.session = arrival.head.values.get(b"mcp-session-id", b"")
    if not inbound.session:
        missing = "the Mcp-Session-Id header is missing" if arrival.mirrored else "no session was begun here"
        raise Rejected(400, INVALID_REQUEST, f"{missing}: send initialize first", id=id_)
    if arrival.message.id and inbound.method.startswith(_NOTIFICATION):
        raise Rejected(200, METHOD_NOT_FOUND, f"Method not found: {inbound.method[:100]}", id=id_)
    if not arrival.message.id and not inbound.method.startswith(_NOTIFICATION):
        raise Rejected(400, INVALID_REQUEST, f"{inbound.method[:100]} is a request: it must have an id")


def _stated(arrival: Arrival, member: str) -> bytes:
    params = arrival.params
    return bytes(params.name if member == "name" else params.uri if member == "uri" else params.task_id)


def _read_named(arrival: Arrival, inbound: Inbound) -> None:
    """What the request is about, its arguments, and what a retry brings back."""
    params, member = arrival.params, _NAMED[inbound.method]
    name = _string(_stated(arrival, member))
    if not name:
        raise _invalid(arrival, f"params.{member} must be {_KINDS[member]}")
    inbound.name = name
    arguments = bytes(params.arguments)
    if arguments not in (b"", b"null"):
        if arguments[0] != 0x7B:
            raise _invalid(arrival, "params.arguments must be an object")
        inbound.arguments = arguments
    if arrival.era == "modern" and (params.request_state or params.input_responses):
        _read_retry(arrival, inbound)


def _read_retry(arrival: Arrival, inbound: Inbound) -> None:
    state, responses = bytes(arrival.params.request_state), bytes(arrival.params.input_responses)
    if state not in (b"", b"null"):
        inbound.request_state = _string(state)
        if inbound.request_state is None:
            raise _invalid(arrival, "params.requestState must be a string")
    if responses not in (b"", b"null"):
        if responses[0] != 0x7B:
            raise _invalid(arrival, "params.inputResponses must be an object")
        inbound.input_responses = responses


def _completion(arrival: Arrival) -> bytes:
    """What is to be completed, and what it may depend on: all but what it refers to."""
    members = _members.decode(arrival.message.params or b"{}")
    if bytes(members.get("argument", _NONE))[:1] != b"{":
        raise _invalid(arrival, "params.argument must be an object")
    return msgspec.json.encode({name: members[name] for name in ("argument", "context") if name in members})


def _invalid(arrival: Arrival, rule: str) -> Rejected:
    status = 400 if arrival.era == "modern" else 200
    return Rejected(status, INVALID_PARAMS, rule, id=arrival.message.id or b"null")


def _read_meta(arrival: Arrival, inbound: Inbound) -> None:
    meta, is_request = arrival.meta, bool(arrival.message.id)
    token = bytes(meta.get("progressToken", _NONE))
    if is_request and token not in (b"", b"null"):
        if token[0] not in b'"-0123456789':
            status = 400 if arrival.era == "modern" else 200
            raise Rejected(
                status, INVALID_PARAMS, "_meta.progressToken must be a string or a number", id=arrival.message.id
            )
        inbound.progress_token = token
    if "traceparent" in meta:
        inbound.traceparent, inbound.tracestate = trace(
            _string(bytes(meta["traceparent"])) or "", _string(bytes(meta.get("tracestate", _NONE))) or ""
        )
    if is_request and not meta.keys() <= _USUAL:
        own = {key: value for key, value in meta.items() if key not in _CARRIED and not key.startswith(META_PREFIX)}
        inbound.meta = msgspec.json.encode(own) if own else b""


def trace(traceparent: str, tracestate: str) -> tuple[str, str]:
    """The W3C trace context if it is well formed, else nothing: a broken one must not be passed on."""
    if not _TRACEPARENT.fullmatch(traceparent) or traceparent.startswith("ff"):
        return "", ""
    usable = len(tracestate) <= _MAX_TRACESTATE and tracestate.isascii() and tracestate.isprintable()
    return traceparent, tracestate if usable else ""


def _capabilities(raw: bytes, where: str, id_: bytes) -> bytes:
    if raw[:1] != b"{" or len(raw) > _MAX_CAPABILITIES_BYTES:
        rule = f"{where} must be an object of at most {_MAX_CAPABILITIES_BYTES} bytes"
        raise Rejected(400, INVALID_PARAMS, rule, id=id_)
    return raw


def _log_level(raw: bytes, id_: bytes) -> str:
    if not raw or raw == b"null":
        return ""
    level = _string(raw)
    if level not in LEVELS:
        raise Rejected(400, INVALID_PARAMS, f"logLevel must be one of {', '.join(LEVELS)}", id=id_)
    return level


def _string(raw: bytes) -> str | None:
    return _text.decode(raw) if raw[:1] == b'"' else None


def _mismatch(header: str, member: str, id_: bytes) -> Rejected:
    return Rejected(400, HEADER_MISMATCH, f"the {header} header does not match {member} in the body", id=id_)
