"""How a failure reads on the MCP wire: one table from reasons to HTTP statuses and JSON-RPC codes, per era."""

import math

import msgspec
from msgspec import Raw, Struct

from core.call import Era, Inbound
from core.errors import Reason, Refused, Unavailable
from core.mcp.revisions import unsupported

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
REQUEST_CANCELLED = -32800
RESOURCE_NOT_FOUND = -32002
"""Of the handshake revisions only."""
URL_ELICITATION_REQUIRED = -32042
"""Of 2025-11-25 only."""

NULL = b"null"

NOTHING_HERE = "There is nothing here, or not for this credential"
"""What every NOT_FOUND reads like: no such path, tenant, endpoint or session, or one that is somebody else's."""


class WireError(Struct, frozen=True):
    """An error as it is sent: the HTTP status while nothing was sent yet, and the JSON-RPC error object's members."""

    status: int
    code: int
    message: str
    data: bytes = b""
    """JSON, or empty."""
    retry_after_s: float | None = None


class Rejected(Exception):
    """A request that breaks the wire's own rules, found before the pipeline sees it."""

    def __init__(self, status: int, code: int, message: str, *, id: bytes = NULL, data: bytes = b"") -> None:  # noqa: A002
        super().__init__(message)
        self.error = WireError(status, code, message, data)
        self.id = id or NULL
        """Of a notification, which has none: null."""


# Codes of our own are positive and read like HTTP: -32768..-32000 is reserved, by JSON-RPC and by MCP for itself.
# A legacy error travels as HTTP 200 unless HTTP itself must know: clients of that era take 4xx as a broken session.
# What fails behind the gateway is not the gateway's failure, so it is not a 5xx either: load balancers would eject a
# healthy node for it.
_MODERN: dict[Reason, tuple[int, int]] = {
    Reason.UNAUTHENTICATED: (401, 401),
    Reason.NOT_FOUND: (404, 404),
    Reason.UNKNOWN_TOOL: (400, INVALID_PARAMS),
    Reason.FORBIDDEN: (400, INVALID_PARAMS),
    Reason.INSUFFICIENT_SCOPE: (403, 403),
    Reason.ORIGIN: (403, 403),
    Reason.RATE_LIMITED: (429, 429),
    Reason.GUARD_BLOCKED: (200, 403),
    Reason.STEP_UP: (401, 401),
    Reason.APPROVAL_PENDING: (200, 409),
    Reason.APPROVAL_DENIED: (200, 403),
    Reason.OBLIGATION: (403, 403),
    Reason.INVALID: (400, INVALID_PARAMS),
    Reason.UNSUPPORTED_VERSION: (400, UNSUPPORTED_VERSION),
    Reason.HEADER_MISMATCH: (400, HEADER_MISMATCH),
    Reason.MISSING_CAPABILITY: (400, MISSING_CAPABILITY),
    Reason.UNKNOWN_METHOD: (404, METHOD_NOT_FOUND),
    Reason.TOO_LARGE: (413, 413),
    Reason.OVERLOADED: (503, 503),
    Reason.NO_SNAPSHOT: (503, 503),
    Reason.STALE: (503, 503),
    Reason.POLICY_UNAVAILABLE: (503, 503),
    Reason.LIMIT_UNAVAILABLE: (503, 503),
    Reason.AUDIT_UNAVAILABLE: (503, 503),
    Reason.GUARD_UNAVAILABLE: (200, 503),
    Reason.UPSTREAM_UNAVAILABLE: (200, 502),
    Reason.UPSTREAM_TIMEOUT: (200, 504),
    Reason.UPSTREAM_TOO_LARGE: (200, 502),
    Reason.NOT_CONNECTED: (200, 403),
    Reason.TOKEN_NEEDED: (200, 403),
    Reason.NOT_EXCHANGED: (200, 403),
    Reason.CANCELLED: (200, REQUEST_CANCELLED),
    Reason.INTERNAL: (500, INTERNAL_ERROR),
}
_LEGACY: dict[Reason, tuple[int, int]] = _MODERN | {
    Reason.UNKNOWN_TOOL: (200, INVALID_PARAMS),
    Reason.FORBIDDEN: (200, INVALID_PARAMS),
    Reason.INVALID: (200, INVALID_PARAMS),
    Reason.UNSUPPORTED_VERSION: (400, INVALID_REQUEST),
    Reason.HEADER_MISMATCH: (400, INVALID_REQUEST),
    Reason.MISSING_CAPABILITY: (200, INVALID_PARAMS),
    Reason.UNKNOWN_METHOD: (200, METHOD_NOT_FOUND),
}
_TABLE: dict[Era, dict[Reason, tuple[int, int]]] = {"modern": _MODERN, "legacy": _LEGACY}

_STATUS_OF_CODE = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    MISSING_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
    METHOD_NOT_FOUND: 404,
}
"""HTTP status of an upstream's error on the modern wire; others travel as 200."""

_ABOUT_RESOURCES = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})

_UP = {RESOURCE_NOT_FOUND: INVALID_PARAMS, URL_ELICITATION_REQUIRED: INVALID_PARAMS}
"""Codes a modern answer must not carry."""
_DOWN = {HEADER_MISMATCH: INVALID_REQUEST, MISSING_CAPABILITY: INVALID_PARAMS, UNSUPPORTED_VERSION: INVALID_REQUEST}
"""Codes a legacy client does not know."""


class _Code(Struct):
    code: int


def of_failure(failure: Refused | Unavailable, inbound: Inbound) -> WireError:
    """What the caller is told. A forbidden tool and an unknown one read alike, to the byte."""
    reason, message = failure.reason, failure.public
    data = failure.data if isinstance(failure, Refused) else b""
    if reason in (Reason.FORBIDDEN, Reason.UNKNOWN_TOOL):
        return _unknown(inbound, failure.retry_after_s)
    if reason is Reason.NOT_FOUND:
        message, data = NOTHING_HERE, b""
    elif reason is Reason.UNSUPPORTED_VERSION and not data:
        data = unsupported(inbound.revision)
    status, code = _TABLE[inbound.era][reason]
    return WireError(status, code, message, data, failure.retry_after_s)


def _unknown(inbound: Inbound, retry_after_s: float | None) -> WireError:
    """What is not there, for this caller at least: the same whether it exists or not."""
    status = 400 if inbound.era == "modern" else 200
    if inbound.method in _ABOUT_RESOURCES or inbound.refers_to == "resource":
        code = INVALID_PARAMS if inbound.era == "modern" else RESOURCE_NOT_FOUND
        return WireError(
            status, code, "Resource not found", b'{"uri":%b}' % msgspec.json.encode(inbound.name), retry_after_s
        )
    kind = "prompt" if inbound.method == "prompts/get" or inbound.refers_to == "prompt" else "tool"
    return WireError(status, INVALID_PARAMS, f"Unknown {kind}: {inbound.name}", b"", retry_after_s)


def internal(inbound: Inbound) -> WireError:
    """A bug, told by its correlation id only."""
    status, code = _TABLE[inbound.era][Reason.INTERNAL]
    return WireError(status, code, f"internal error {inbound.id}")


def body(id: bytes, error: WireError) -> bytes:  # noqa: A002
    """The JSON-RPC error response; `id` is the request's id as JSON."""
    data = b',"data":' + error.data if error.data else b""
    message = msgspec.json.encode(error.message)
    return b'{"jsonrpc":"2.0","id":%b,"error":{"code":%d,"message":%b%b}}' % (id, error.code, message, data)


def code(error: bytes) -> int:
    """Of a server's error object; 0 for what is none."""
    try:
        return msgspec.json.decode(error, type=_Code).code
    except msgspec.DecodeError:
        return 0


def relay(error: bytes, inbound: Inbound, upstream: Era | None = None) -> tuple[int, bytes]:
    """A server's error object for this caller: HTTP status, and the object with at most code and `data` changed.

    `upstream`: the server's era.
    """
    try:
        code = msgspec.json.decode(error, type=_Code).code
    except msgspec.DecodeError as failure:
        raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "the tool's server answered what is not MCP") from failure
    modern = inbound.era == "modern"
    known = (_UP if modern else _DOWN).get(code, code)
    missing = code == RESOURCE_NOT_FOUND or (code == INVALID_PARAMS and (modern or upstream == "modern"))
    if inbound.method == "resources/read" and missing:
        return (400 if modern else 200), _not_found(error, inbound)
    if known != code:
        members = msgspec.json.decode(error, type=dict[str, Raw])
        error = msgspec.json.encode(members | {"code": Raw(b"%d" % known)})
    return (_STATUS_OF_CODE.get(known, 200) if modern else 200), error


def _not_found(error: bytes, inbound: Inbound) -> bytes:
    """A resource's error names the URI as the client spells it: revisions differ in the code, servers in the data."""
    members = msgspec.json.decode(error, type=dict[str, Raw])
    code = INVALID_PARAMS if inbound.era == "modern" else RESOURCE_NOT_FOUND
    data = members.get("data", Raw(b"{}"))
    kept = msgspec.json.decode(data, type=dict[str, Raw]) if bytes(data)[:1] == b"{" else {"detail": data}
    kept["uri"] = Raw(msgspec.json.encode(inbound.name))
    return msgspec.json.encode(members | {"code": Raw(b"%d" % code), "data": Raw(msgspec.json.encode(kept))})


def retry_after(seconds: float) -> bytes:
    """Value of `Retry-After`: whole seconds, rounded up."""
    return b"%d" % max(1, math.ceil(seconds))
