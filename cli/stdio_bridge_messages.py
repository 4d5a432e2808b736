"""What the bridge reads in a message, and what it writes by itself: sans-I/O."""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct, field

from core.mcp.headers import encode_value, param_headers
from core.mcp.revisions import META_PREFIX, MODERN, unsupported

Era = Literal["modern", "legacy"]
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
UNSUPPORTED_VERSION: Final = -32022
HEADER_MISMATCH: Final = -32020
AWAY: Final = 503
"""The gateway cannot be reached. Codes of our own are positive and read like HTTP, as the gateway's."""
BROKEN: Final = 502

_NONE: Final = Raw(b"")
_NAMED: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
_NEWLINES: Final = bytes.maketrans(b"\r\n", b"  ")
MAX_DEPTH: Final = 16
"""Of properties that travel in headers."""


class _Meta(Struct):
    version: Raw = field(default=_NONE, name=META_PREFIX + "protocolVersion")


class _Params(Struct):
    meta: Raw = field(default=_NONE, name="_meta")
    name: Raw = _NONE
    uri: Raw = _NONE
    task_id: Raw = field(default=_NONE, name="taskId")
    arguments: Raw = _NONE
    request_id: Raw = field(default=_NONE, name="requestId")
    protocol_version: Raw = field(default=_NONE, name="protocolVersion")


class _Wire(Struct):
    id: Raw = _NONE
    method: str = ""
    params: Raw = _NONE
    result: Raw = _NONE
    error: Raw = _NONE


class _Code(Struct):
    code: int = 0


_wire = msgspec.json.Decoder(_Wire)
_params = msgspec.json.Decoder(_Params)
_meta = msgspec.json.Decoder(_Meta)
_encode = msgspec.json.encode


class Message(Struct, frozen=True):
    """One line of either side. `params` of what has no object there is empty."""

    line: bytes
    id: bytes
    """As JSON, empty for a notification."""
    method: str
    """Empty for a response, and for a batch."""
    params: _Params
    version: str
    """Of a modern request: what its envelope says."""
    batch: bool = False
    result: bytes = b""
    error: bytes = b""

    @property
    def is_request(self) -> bool:
        return bool(self.method and self.id)

    @property
    def is_answer(self) -> bool:
        return not self.method and not self.batch

    @property
    def error_code(self) -> int:
        try:
            return msgspec.json.decode(self.error, type=_Code).code if self.error else 0
        except msgspec.DecodeError:
            return 0


class NotJson(Exception):
    """A line that is no JSON-RPC message."""


def read(line: bytes) -> Message:
    """Raises NotJson. A batch is taken as it is."""
    text = line.strip()
    try:
        if text[:1] == b"[":
            msgspec.json.decode(text, type=list[Raw])
            return Message(text, b"", "", _Params(), "", batch=True)
        wire = _wire.decode(text)
        params = _params.decode(wire.params) if bytes(wire.params)[:1] == b"{" else _Params()
        meta = _meta.decode(params.meta) if bytes(params.meta)[:1] == b"{" else _Meta()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise NotJson(str(failure)) from failure
    # An explicit `null` is the id of an error nobody's request caused: no request's.
    id_ = b"" if bytes(wire.id) == b"null" else bytes(wire.id)
    return Message(
        one_line(text),
        id_,
        wire.method,
        params,
        _text(meta.version),
        result=bytes(wire.result),
        error=bytes(wire.error),
    )


def one_line(message: bytes) -> bytes:
    """A line break in JSON can only be layout between tokens, so a blank stands in for it."""
    message = message.strip()
    return message.translate(_NEWLINES) if b"\n" in message or b"\r" in message else message


def envelope_headers(message: Message, declared: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What a modern request repeats of its body. `declared`: of known tools, argument paths to header tokens."""
    headers = {"MCP-Protocol-Version": message.version, "Mcp-Method": message.method}
    params, member = message.params, _NAMED.get(message.method)
    if member is not None:
        stated = params.name if member == "name" else params.uri if member == "uri" else params.task_id
        name = _text(stated)
        if name:
            headers["Mcp-Name"] = encode_value(name)
        arguments = bytes(params.arguments)
        if message.method == "tools/call" and name in declared and arguments[:1] == b"{":
            mirrored = param_headers(declared[name], arguments)
            headers.update({token.decode(): value.decode() for token, value in mirrored})
    return headers


class _Tool(Struct):
    name: str = ""
    schema: object = field(default=None, name="inputSchema")


class _Tools(Struct, rename="camel"):
    tools: list[_Tool] = field(default_factory=list)
    next_cursor: str = ""


def declared_headers(tools_result: bytes) -> tuple[dict[str, dict[str, str]], str]:
    """Of a page of tools: name to argument paths and header tokens; and the cursor of the next page."""
    try:
        page = msgspec.json.decode(tools_result, type=_Tools)
    except msgspec.DecodeError:
        return {}, ""
    return {tool.name: dict(_declared(tool.schema, "", 0)) for tool in page.tools}, page.next_cursor


def _declared(schema: object, path: str, depth: int) -> Iterator[tuple[str, str]]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or depth > MAX_DEPTH:
        return
    for name, property_ in properties.items():
        if isinstance(property_, dict):
            token = property_.get("x-mcp-header")
            if isinstance(token, str):
                yield f"{path}{name}", token
            yield from _declared(property_, f"{path}{name}.", depth + 1)


def agreed_version(initialize_result: bytes) -> str:
    try:
        return _text(_params.decode(initialize_result).protocol_version)
    except msgspec.DecodeError:
        return ""


def error(id_: bytes, code: int, text: str, data: bytes = b"") -> bytes:
    more = b',"data":' + data if data else b""
    return b'{"jsonrpc":"2.0","id":%b,"error":{"code":%d,"message":%b%b}}' % (id_ or b"null", code, _encode(text), more)


def with_id(message: Message, id_: bytes) -> bytes:
    """An answer to nobody as the answer to a request: the gateway could not read that far, or HTTP itself refused."""
    if message.id or not message.error:
        return message.line
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id_, message.error)


def wrong_era(message: Message) -> bytes:
    """To a request of another era than the conversation's."""
    if message.version:
        return error(message.id, INVALID_REQUEST, "this conversation began with initialize")
    wanted = _text(message.params.protocol_version)
    return error(message.id, UNSUPPORTED_VERSION, f"this conversation speaks {MODERN[0]}", unsupported(wanted))


def notification(method: str) -> bytes:
    return b'{"jsonrpc":"2.0","method":%b}' % _encode(method)


def _text(raw: Raw) -> str:
    return msgspec.json.decode(raw, type=str) if bytes(raw)[:1] == b'"' else ""
