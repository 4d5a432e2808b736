"""JSON-RPC as an upstream client needs it: the envelope is read, what it carries stays the bytes that came."""

import re
from functools import lru_cache
from importlib.metadata import version
from typing import Final

import msgspec

from core.call import Notification, Outgoing, Raw
from core.mcp import revisions
from core.mcp.notifications import LEVELS
from core.mcp.results import server_info

MODERN: Final = revisions.MODERN[0]
LEGACY: Final = revisions.LEGACY
"""Newest first: the first is offered in `initialize`, any is accepted back."""

CLIENT_INFO: Final = server_info(version("toolgate"))

_ENVELOPE: Final = (
    b'"io.modelcontextprotocol/protocolVersion":"%b","io.modelcontextprotocol/clientCapabilities":%b,'
    b'"io.modelcontextprotocol/clientInfo":%b'
)
_NONE: Final = msgspec.Raw(b"")


# `{"jsonrpc":"2.0","id":7,` at the start, or `,"id":7}` at the very end: nothing inside a string can look like either.
_ID_FIRST = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,18})\s*,')
_ID_LAST = re.compile(rb',\s*"id"\s*:\s*(\d{1,18})\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z')


class NotMcpError(Exception):
    """The upstream sent what is no JSON-RPC message; the text says what is wrong, for the record."""


class TooDeepError(NotMcpError):
    """Nested so deep that it is not read: it may be an answer, and only a look at its ends tells to what."""


class Message(msgspec.Struct, frozen=True):
    """Any JSON-RPC message. Of the members absent, the raw ones are empty and the method is None."""

    id: int | str | float | None = None
    method: str | None = None
    result: msgspec.Raw = _NONE
    error: msgspec.Raw = _NONE
    params: msgspec.Raw = _NONE


_messages = msgspec.json.Decoder(Message)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
encode = msgspec.json.encode


def decode(data: bytes) -> Message:
    """Raises NotMcpError."""
    try:
        if not data.isascii():
            data.decode("utf-8")  # Raw members are relayed unread, so bad UTF-8 must be caught here.
        return _messages.decode(data)
    except RecursionError as failure:
        raise TooDeepError("its answer is nested too deep") from failure
    except (msgspec.MsgspecError, UnicodeDecodeError) as failure:
        raise NotMcpError(f"no JSON-RPC message: {failure}") from failure


def answered_id(head: bytes, tail: bytes) -> int | None:
    """The request that an unread message answers, by its first and last bytes; None if that cannot be told."""
    found = _ID_FIRST.match(head) or _ID_LAST.search(tail)
    return int(found[1]) if found else None


def members(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Of a JSON object, unread. Raises NotMcpError."""
    try:
        return _members.decode(data)
    except (msgspec.MsgspecError, RecursionError) as failure:
        raise NotMcpError(f"no JSON object: {failure}") from failure


def answer_of(message: Message, size_bytes: int) -> Raw:
    """The answer a response holds. Raises NotMcpError unless it has exactly one of result and error, each an object."""
    result, error = bytes(message.result), bytes(message.error)
    if error == b"null":
        error = b""
    if result[:1] == b"{" and not error:
        return Raw(result=result, size_bytes=size_bytes)
    if error[:1] == b"{" and result in (b"", b"null"):
        _check_error(error)
        return Raw(error=error, size_bytes=size_bytes)
    raise NotMcpError("a response must hold either a result object or an error object")


def scalar(raw: msgspec.Raw | bytes) -> int | str | float | bool | None:
    """A member that is no object or array; None also for one that is."""
    try:
        return msgspec.json.decode(raw, type=int | str | float | bool | None)
    except (msgspec.MsgspecError, RecursionError):
        return None


class _Error(msgspec.Struct, frozen=True):
    code: int
    message: str = ""


_errors = msgspec.json.Decoder(_Error)


def _check_error(error: bytes) -> None:
    try:
        _errors.decode(error)
    except (msgspec.MsgspecError, RecursionError) as failure:
        raise NotMcpError(f"an error without a code: {failure}") from failure


def error_code(error: bytes) -> int:
    """Of an error object that `answer_of` let through."""
    return _errors.decode(error).code


def error_message(error: bytes) -> str:
    return _errors.decode(error).message


def request(request_id: int, method: str, params: bytes) -> bytes:
    """`params` is a JSON object."""
    return b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":%b}' % (request_id, encode(method), params)


def notification(method: str, params: bytes = b"") -> bytes:
    tail = b',"params":' + params if params else b""
    return b'{"jsonrpc":"2.0","method":%b%b}' % (encode(method), tail)


def cancelled(request_id: int, reason: str) -> bytes:
    return notification("notifications/cancelled", encode({"requestId": request_id, "reason": reason}))


def reply_to(message: Message) -> bytes:
    """What a server's own request is told: pong, or politely that this client does not do that."""
    if message.method == "ping":
        return b'{"jsonrpc":"2.0","id":%b,"result":{}}' % encode(message.id)
    error = {"code": -32601, "message": f"this client does not support {message.method}"}
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (encode(message.id), encode(error))


def initialize_params(capabilities: bytes) -> bytes:
    return b'{"protocolVersion":"%b","capabilities":%b,"clientInfo":%b}' % (
        LEGACY[0].encode(),
        capabilities,
        CLIENT_INFO,
    )


def meta(
    revision: str | None, capabilities: bytes, *, token: int | None = None, log_level: str = "", more: bytes = b""
) -> bytes:
    """The `_meta` of a request; with a revision the whole envelope of the modern era. `more`: see `of_caller`."""
    if revision is not None and token is None and not log_level and more:  # As nearly always.
        return b"{%b,%b}" % (_envelope(revision, capabilities or b"{}"), more)
    parts = [] if revision is None else [_envelope(revision, capabilities or b"{}")]
    if token is not None:
        parts.append(b'"progressToken":%d' % token)
    if log_level and revision is not None:
        parts.append(b'"io.modelcontextprotocol/logLevel":%b' % encode(log_level))
    if more:
        parts.append(more)
    return b"{%b}" % b",".join(parts)


@lru_cache(128)
def _envelope(revision: str, capabilities: bytes) -> bytes:
    return _ENVELOPE % (revision.encode(), capabilities, CLIENT_INFO)


def of_caller(outgoing: Outgoing) -> bytes:
    """The members of `_meta` that a caller's request brings along: its trace, and its own."""
    if not outgoing.traceparent:
        return outgoing.meta
    state = b',"tracestate":%b' % encode(outgoing.tracestate) if outgoing.tracestate else b""
    own = b"," + outgoing.meta if outgoing.meta else b""
    return b'"traceparent":%b%b%b' % (encode(outgoing.traceparent), state, own)


class Listener:
    """What a call lets through of the notifications on its stream: its own progress, and logs it asked for."""

    __slots__ = ("_last", "_level", "_token")

    def __init__(self, token: int | None, log_level: str) -> None:
        self._token = token
        self._level = LEVELS.index(log_level) if log_level in LEVELS else None
        self._last = float("-inf")

    def heard(self, message: Message) -> Notification | None:
        """What to tell the caller, progress without its token. None: nothing. Raises NotMcpError for bad params."""
        if message.method == "notifications/progress":
            return self._progress(message.params)
        if message.method == "notifications/message" and self._level is not None:
            return self._log(message.params)
        return None

    def _progress(self, raw: msgspec.Raw) -> Notification | None:
        params = members(raw)
        if self._token is None or bytes(params.pop("progressToken", _NONE)) != b"%d" % self._token:
            return None
        progress = _number(params.get("progress", _NONE))
        if progress is None or progress <= self._last:
            return None  # It must increase (MCP, "Progress"); a client may take a step back for an error.
        self._last = progress
        return Notification("notifications/progress", encode(params))

    def _log(self, raw: msgspec.Raw) -> Notification | None:
        level = bytes(members(raw).get("level", _NONE)).strip(b'"').decode("utf-8", "replace")
        if self._level is None or level not in LEVELS or LEVELS.index(level) < self._level:
            return None
        return Notification("notifications/message", bytes(raw))


def _number(raw: msgspec.Raw) -> float | None:
    try:
        return msgspec.json.decode(raw, type=float)
    except msgspec.MsgspecError:
        return None


def more_verbose(level: str, than: str) -> bool:
    """Whether `level` lets more through; an unknown or empty level lets nothing through."""
    return level in LEVELS and (than not in LEVELS or LEVELS.index(level) < LEVELS.index(than))
