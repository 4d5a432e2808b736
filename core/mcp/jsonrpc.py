"""JSON-RPC as MCP uses it: a body is one request or one notification. Values are kept as the bytes they came in."""

import re
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from core.mcp.errors import INVALID_REQUEST, PARSE_ERROR, Rejected

MAX_DEPTH = 100
"""Deepest nesting of a body. Far above real arguments, far below what a recursive reader behind us can stand."""
MAX_ID_BYTES = 1024
MAX_BATCH = 100

_NONE = Raw(b"")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NOT_OPENING = bytes(set(range(256)) - set(b"[{"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_INTEGER = re.compile(rb"-?[0-9]{1,40}")


class Message(Struct, frozen=True):
    """A request, or a notification if `id` is empty."""

    id: bytes
    """As JSON, byte for byte as received: `1` and `"1"` are two ids."""
    method: str
    params: bytes
    """A JSON object, or empty."""


class Answer(Struct, frozen=True):
    """A client's response to a request that was made of it. Exactly one of `result` and `error` is a JSON object."""

    id: bytes
    """As JSON."""
    result: bytes = b""
    error: bytes = b""


class _Wire(Struct):
    jsonrpc: Literal["2.0"]
    method: str
    id: Raw = _NONE
    params: Raw = _NONE


class _Either(Struct):
    jsonrpc: Literal["2.0"]
    method: Raw = _NONE
    id: Raw = _NONE
    result: Raw = _NONE
    error: Raw = _NONE


_wire = msgspec.json.Decoder(_Wire)
_either = msgspec.json.Decoder(_Either)
_several = msgspec.json.Decoder(list[Raw])
_any = msgspec.json.Decoder()


def parse(body: bytes) -> Message:
    """Raises Rejected. What passes is JSON that every strict reader accepts: UTF-8, numbers in range, bounded depth."""
    try:
        _any.decode(body)
        wire = _wire.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as failure:
        raise _diagnosis(body) from failure
    if too_deep(body):
        raise Rejected(400, INVALID_REQUEST, f"nested deeper than {MAX_DEPTH} levels")
    return Message(_id(bytes(wire.id)), wire.method, _params(bytes(wire.params)))


def read(body: bytes) -> Message | Answer:
    """As `parse`, where responses come the same way as requests, only more rarely. Raises Rejected."""
    try:
        return parse(body)
    except Rejected:
        answer = _answer(body)
        if answer is None:
            raise
        return answer


def batch(body: bytes) -> list[bytes] | None:
    """The messages of an array, of 1 to MAX_BATCH; None for what is no array. Raises Rejected."""
    if body.lstrip()[:1] != b"[":
        return None
    try:
        messages = [bytes(raw) for raw in _several.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as failure:
        raise _diagnosis(body) from failure
    if not 1 <= len(messages) <= MAX_BATCH:
        raise Rejected(400, INVALID_REQUEST, f"a batch must have 1 to {MAX_BATCH} messages")
    return messages


def result(id: bytes, value: bytes) -> bytes:  # noqa: A002
    """A JSON-RPC response around a result's own bytes."""
    return b"".join((b'{"jsonrpc":"2.0","id":', id, b',"result":', value, b"}"))


def error(id: bytes, value: bytes) -> bytes:  # noqa: A002
    """A JSON-RPC error response around an error object's own bytes."""
    return b'{"jsonrpc":"2.0","id":' + id + b',"error":' + value + b"}"


def canonical_id(id: bytes) -> bytes:  # noqa: A002
    """The one spelling of an id: `"a"` and `"\\u0061"` are the same string."""
    return msgspec.json.encode(msgspec.json.decode(id)) if b"\\" in id else id


def too_deep(body: bytes) -> bool:
    """Whether valid JSON nests deeper than MAX_DEPTH. Counting brackets answers nearly always."""
    if len(body.translate(None, _NOT_OPENING)) <= MAX_DEPTH:
        return False
    brackets = _STRINGS.sub(b"", body).translate(_ONE_KIND, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _answer(body: bytes) -> Answer | None:
    """None for what is no response. Raises Rejected for one that breaks a rule of every message."""
    try:
        _any.decode(body)
        either = _either.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    outcomes = bytes(either.result), bytes(either.error)
    if either.method or not either.id or sorted(outcome[:1] for outcome in outcomes) != [b"", b"{"]:
        return None
    if too_deep(body):
        raise Rejected(400, INVALID_REQUEST, f"nested deeper than {MAX_DEPTH} levels")
    return Answer(_id(bytes(either.id)), *outcomes)


def _id(raw: bytes) -> bytes:
    if not raw or (raw.isdigit() and len(raw) <= 40) or _INTEGER.fullmatch(raw):
        return raw
    if raw[0] == 0x22 and len(raw) <= MAX_ID_BYTES:
        return raw
    raise Rejected(400, INVALID_REQUEST, f"id must be a string or an integer, at most {MAX_ID_BYTES} bytes long")


def _params(raw: bytes) -> bytes:
    if raw in (b"", b"null"):
        return b""
    if raw[0] != 0x7B:
        raise Rejected(400, INVALID_REQUEST, "params must be an object")
    return raw


def _diagnosis(body: bytes) -> Rejected:
    """Which rule a body breaks that is not one request or notification."""
    try:
        value = _any.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return Rejected(400, PARSE_ERROR, "Parse error: the body is not JSON")
    if isinstance(value, list):
        return Rejected(400, INVALID_REQUEST, "send one request or notification per POST, not an array")
    if not isinstance(value, dict):
        return Rejected(400, INVALID_REQUEST, "the body must be a JSON object")
    if "method" not in value and ("result" in value or "error" in value):
        return Rejected(400, INVALID_REQUEST, "responses cannot be posted here")
    if value.get("jsonrpc") != "2.0":
        return Rejected(400, INVALID_REQUEST, 'jsonrpc must be "2.0"')
    return Rejected(400, INVALID_REQUEST, "method must be a string")
