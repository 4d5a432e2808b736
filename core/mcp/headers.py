"""HTTP headers of an MCP request: read once, whitespace stripped, duplicates seen."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache

import msgspec
from msgspec import Struct

from core.mcp.errors import HEADER_MISMATCH, INVALID_REQUEST, Rejected
from core.token import looks_like

ROUTING = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name"})
"""Headers that repeat what the body says; two copies of one could be read differently by two readers."""

_SINGLE = frozenset({b"authorization", b"x-api-key", b"mcp-session-id", b"host", b"content-type", b"origin", b"dpop"})
_PARAM = b"mcp-param-"
_OFFERED = "bearer."
_SENTINEL = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_MAX_NUMBER = 400
_PLAIN = re.compile(r"[\x20-\x7e]*")


class Head(Struct):
    """Headers by lower-case name; lists such as Accept are joined, other repeated names keep the last value."""

    values: dict[bytes, bytes]
    params: dict[str, bytes] | None = None
    """`Mcp-Param-<token>`: lower-case token to raw value."""
    twice: bytes = b""
    """A routing header that came more than once: the request is refused once its id is known."""

    def text(self, name: bytes) -> str:
        """The value as text, empty if absent. Bytes outside ASCII never equal anything a body can say."""
        value = self.values.get(name)
        return value.decode("ascii", "replace") if value else ""


def read(raw: Sequence[tuple[bytes, bytes]], *, trimmed: bool = False) -> Head:
    """Raises Rejected for what must not come twice, and for a body in a coding that nobody here undoes (415).

    `trimmed`: values have no whitespace at either end; else they are trimmed here.
    """
    plain = dict(raw) if trimmed else {name: value.strip(b" \t") for name, value in raw}
    if b"content-encoding" in plain and plain[b"content-encoding"].lower() not in (b"", b"identity"):
        raise Rejected(415, INVALID_REQUEST, "send the body as it is: no Content-Encoding is served here")
    if len(plain) == len(raw) and _PARAM not in b"\n".join(plain):
        return Head(plain)
    return read_closely(raw)


def read_closely(raw: Sequence[tuple[bytes, bytes]]) -> Head:
    """Where a header repeats or mirrors a parameter. Raises Rejected for what must not come twice."""
    values: dict[bytes, bytes] = {}
    params: dict[str, bytes] | None = None
    twice = b""
    for name, untrimmed in raw:
        value = untrimmed.strip(b" \t")
        if name in values:
            if name in _SINGLE:
                raise Rejected(400, INVALID_REQUEST, f"the {name.decode()} header came more than once")
            if name in ROUTING or name.startswith(_PARAM):
                twice = name
            elif name == b"accept":
                value = values[name] + b"," + value
        if name.startswith(_PARAM):
            params = params or {}
            params[name[len(_PARAM) :].decode("ascii", "replace")] = value
        values[name] = value
    return Head(values, params, twice)


@lru_cache(maxsize=256)
def accepts(accept: bytes) -> tuple[bool, bool]:
    """Whether JSON and whether an event stream may be sent back. An absent Accept header (empty) accepts nothing."""
    ranges = [part.split(b";") for part in accept.lower().split(b",")]
    names = {kind.strip() for kind, *options in ranges if not any(_is_zero(option) for option in options)}
    every = b"*/*" in names
    json = every or not names.isdisjoint((b"application/json", b"application/*"))
    stream = every or not names.isdisjoint((b"text/event-stream", b"text/*"))
    return json, stream


@lru_cache(maxsize=256)
def is_json(content_type: bytes) -> bool:
    """Whether a body is declared as JSON, in UTF-8 if it says."""
    kind, *options = (part.strip().lower() for part in content_type.split(b";"))
    charsets = [option.partition(b"=")[2].strip(b'" ') for option in options if option.startswith(b"charset=")]
    return kind == b"application/json" and all(charset in (b"utf-8", b"utf8") for charset in charsets)


def credential(head: Head) -> bytes:
    """The key or token of `Authorization: Bearer <key>`, else the key of `X-API-Key`; empty if neither.

    A token is none of the latter: who relays such headers takes them for keys, and may log, keep or pass them on.
    """
    authorization = head.values.get(b"authorization")
    if authorization is None:
        key = head.values.get(b"x-api-key", b"")
        return b"" if key and looks_like(key) else key
    if authorization[:7] == b"Bearer " and b" " not in authorization[7:]:
        return authorization[7:]
    scheme, _, key = authorization.partition(b" ")
    return key.strip(b" ") if scheme.lower() == b"bearer" else b""


def possessed(head: Head) -> bytes:
    """The token of `Authorization: DPoP <token>` (RFC 9449, section 7.1); empty if there is none."""
    scheme, _, token = head.values.get(b"authorization", b"").partition(b" ")
    token = token.strip(b" ")
    return token if scheme.lower() == b"dpop" and looks_like(token) else b""


def offered_key(subprotocols: Sequence[str]) -> bytes:
    """The key or token that a page offers as a WebSocket's subprotocol, where it can set no header; else empty."""
    for offered in subprotocols:
        if (name := offered.strip()).startswith(_OFFERED):
            encoded = name.removeprefix(_OFFERED)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            except (binascii.Error, ValueError):
                return b""
    return b""


def encode_value(value: str) -> str:
    """A value for `Mcp-Name` and `Mcp-Param-*`: printable ASCII without edge blanks as it is, else in the sentinel."""
    if _PLAIN.fullmatch(value) and value == value.strip() and not _SENTINEL.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def decode_value(value: bytes) -> str | None:
    """Inverse of `encode_value`; None if it is not ASCII, or a sentinel that the encoder could not have made."""
    try:
        text = value.decode("ascii")
        sentinel = _SENTINEL.fullmatch(text)
        if sentinel is None:
            return text
        plain = base64.b64decode(sentinel[1], validate=True)
        return plain.decode() if base64.b64encode(plain).decode() == sentinel[1] else None
    except (UnicodeDecodeError, binascii.Error):
        return None


def decode_params(head: Head, id: bytes) -> dict[str, str]:  # noqa: A002
    """`Mcp-Param-*` headers decoded, by lower-case token."""
    decoded: dict[str, str] = {}
    for token, raw in (head.params or {}).items():
        value = decode_value(raw)
        if value is None:
            raise Rejected(400, HEADER_MISMATCH, f"the Mcp-Param-{token} header cannot be decoded", id=id)
        decoded[token] = value
    return decoded


def param_mismatch(received: Mapping[str, str], declared: Mapping[str, str], arguments: bytes) -> str:
    """What is wrong between `Mcp-Param-*` headers and arguments, or empty. A header no schema declares is ignored.

    `received`: lower-case token to decoded value. `declared`: dotted argument path to token, as in CompiledTool.
    """
    values = msgspec.json.decode(arguments, type=dict[str, object]) if declared else {}
    for path, token in declared.items():
        value, header = _at(values, path), received.get(token.lower())
        if value is None and header is None:
            continue
        if value is None or header is None or not _agree(value, header):
            return f"the Mcp-Param-{token} header does not match argument {path} in the body"
    return ""


def param_headers(declared: Mapping[str, str], arguments: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The `Mcp-Param-*` headers to send with a call of a tool that declares them."""
    values = msgspec.json.decode(arguments, type=dict[str, object]) if declared else {}
    rendered = ((token, _render(_at(values, path))) for path, token in declared.items())
    return tuple((b"Mcp-Param-" + t.encode(), encode_value(text).encode()) for t, text in rendered if text is not None)


def _at(values: object, path: str) -> object:
    for step in path.split("."):
        if not isinstance(values, dict):
            return None
        values = values.get(step)
    return values


def _render(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return f"{Decimal(str(value)):.0f}"  # In digits, also where JSON has `1e22`.
    return str(value) if isinstance(value, str | int | float) else None


def _agree(value: object, header: str) -> bool:
    """Numbers are compared as numbers: `42` is `42.0`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return _render(value) == header
    try:
        return len(header) <= _MAX_NUMBER and "e" not in header.lower() and Decimal(header) == Decimal(str(value))
    except InvalidOperation:
        return False


def _is_zero(option: bytes) -> bool:
    name, _, value = option.strip().partition(b"=")
    return name == b"q" and value.strip(b"0. ") == b""
