"""What fuzzing begins with: one of each kind of message, so that every branch is near."""

import json
from collections.abc import Iterator

from core.mcp.revisions import LEGACY, META_PREFIX, MODERN
from tests.core.secrets import ALL

_META = {META_PREFIX + "protocolVersion": MODERN[0], META_PREFIX + "clientCapabilities": {"elicitation": {}}}
_TRACE = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "tracestate": "a=b", "progressToken": "p"}
_PARAMS: dict[str, dict[str, object]] = {
    "tools/call": {"name": "echo", "arguments": {"text": "hi", "n": 42}},
    "tools/list": {"cursor": "c"},
    "prompts/get": {"name": "greet", "arguments": {"who": "Ada"}},
    "prompts/list": {},
    "resources/read": {"uri": "file:///a"},
    "resources/list": {},
    "resources/templates/list": {},
    "resources/subscribe": {"uri": "file:///a"},
    "completion/complete": {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "w", "value": "A"}},
    "subscriptions/listen": {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["file:///a"]}},
    "server/discover": {},
    "tasks/get": {"taskId": "t1"},
    "tasks/update": {"taskId": "t1", "inputResponses": {"k": {"action": "accept"}}},
    "tasks/cancel": {"taskId": "t1"},
    "logging/setLevel": {"level": "info"},
    "ping": {},
    "initialize": {"protocolVersion": LEGACY[0], "capabilities": {"roots": {}}, "clientInfo": {"name": "c"}},
    "notifications/cancelled": {"requestId": 1, "reason": "late"},
    "notifications/initialized": {},
}
_NAMES = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri", "tasks/get": "taskId"}
_RESULTS: list[dict[str, object]] = [
    {"content": [{"type": "text", "text": "hi"}], "isError": False, "structuredContent": {"a": 1}},
    {"content": [{"type": "audio", "data": "AA==", "mimeType": "audio/wav"}], "structuredContent": [1]},
    {"content": [{"type": "resource_link", "uri": "file:///a", "name": "a"}], "resultType": "complete", "_meta": {}},
    {"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "x"}}], "_meta": {"vendor/x": 1}},
    {"contents": [{"uri": "file:///a", "blob": "AAAA"}], "ttlMs": 5, "cacheScope": "public"},
    {"tools": [{"name": "t", "title": "T", "inputSchema": {"type": "object"}, "outputSchema": {"type": "array"}}]},
    {"prompts": [{"name": "p", "title": "P"}], "nextCursor": "", "_meta": {META_PREFIX + "serverInfo": {"name": "s"}}},
    {"messages": [{"role": "user", "content": {"type": "audio", "data": "", "mimeType": "a"}}], "description": "d"},
    {"resources": [{"uri": "file:///a", "title": "A", "name": "a"}]},
    {"resourceTemplates": [{"uriTemplate": "file:///{a}", "title": "A", "name": "a"}]},
    {"completion": {"values": ["a"], "total": 1, "hasMore": False}},
    {"resultType": "task", "taskId": "t1", "status": "working"},
    {
        "resultType": "input_required",
        "requestState": "s",
        "inputRequests": {
            "k": {"method": "elicitation/create", "params": {"mode": "url", "url": "https://a", "message": "m"}},
            "r": {"method": "roots/list"},
            "s": {"method": "sampling/createMessage", "params": {"messages": [], "tools": []}},
        },
    },
]
_ERRORS: list[dict[str, object]] = [
    {"code": -32602, "message": "Unknown tool", "data": {"uri": "file:///a"}},
    {"code": -32002, "message": "Resource not found", "data": "gone"},
    {"code": -32042, "message": "URL", "data": {"elicitations": [{"mode": "url", "url": "https://a", "message": "m"}]}},
    {"code": -32022, "message": "version", "data": {"supported": ["2026-07-28"], "requested": "x"}},
    {"code": -32020, "message": "header"},
]
_FROM_SERVERS: list[dict[str, object]] = [
    {"method": "notifications/progress", "params": {"progressToken": 1, "progress": 0.5, "message": "half"}},
    {"method": "notifications/message", "params": {"level": "error", "data": {"x": 1}}},
    {"method": "notifications/tools/list_changed"},
    {"method": "notifications/resources/updated", "params": {"uri": "file:///a"}},
    {"method": "notifications/cancelled", "params": {"requestId": "q1"}},
    {"id": "q1", "method": "elicitation/create", "params": {"message": "m", "requestedSchema": {"type": "object"}}},
    {"id": 7, "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 5}},
    {"id": 8, "method": "roots/list"},
    {"id": 9, "method": "ping"},
]


def _dumped(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _headers(**fields: str) -> bytes:
    shown = {"host": "localhost", "content-type": "application/json", "accept": "application/json, text/event-stream"}
    shown |= {name.replace("_", "-"): value for name, value in fields.items()} | {"authorization": "Bearer tgk_a"}
    return "".join(f"{name}: {value}\n" for name, value in shown.items()).encode()


def _posts() -> Iterator[tuple[bytes, bytes]]:
    """Heads and bodies, of both eras."""
    for method, params in _PARAMS.items():
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        if method.startswith("notifications/"):
            del message["id"]
        yield _headers(mcp_session_id="s1", mcp_protocol_version=LEGACY[0]), _dumped(message)
        modern = message | {"params": params | {"_meta": _META | _TRACE}}
        named = {"mcp_name": str(params[_NAMES[method]])} if method in _NAMES else {}
        yield _headers(mcp_protocol_version=MODERN[0], mcp_method=method, **named), _dumped(modern)
    retry = {"name": "echo", "requestState": "s", "inputResponses": {"k": {"action": "accept"}}, "_meta": _META}
    head = _headers(
        mcp_protocol_version=MODERN[0], mcp_method="tools/call", mcp_name="echo", mcp_param_a="=?base64?QQ==?="
    )
    yield head, _dumped({"jsonrpc": "2.0", "id": "\u00e9", "method": "tools/call", "params": retry})


def _from_servers() -> list[bytes]:
    answers = [{"id": 1, "result": one} for one in _RESULTS] + [{"id": 1, "error": one} for one in _ERRORS]
    return [_dumped({"jsonrpc": "2.0", **one}) for one in (*_FROM_SERVERS, *answers)]


def _frame(payload: bytes, opcode: int = 0x81) -> bytes:
    length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return bytes([opcode]) + length + payload


_VERBS = (b"GET", b"OPTIONS", b"PUT")


_UPGRADE = (
    b"GET /acme/main/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mcp\r\n\r\n"
)


def _masked(payload: bytes, opcode: int = 0x81) -> bytes:
    """A client's frame, under a mask that changes nothing."""
    plain = _frame(payload, opcode)
    at = 2 if plain[1] < 126 else 4
    return plain[:1] + bytes([plain[1] | 0x80]) + plain[2:at] + bytes(4) + plain[at:]


def seeds(target: str) -> list[bytes]:
    """Inputs of a target to begin with."""
    posts, said = list(_posts()), _from_servers()
    http = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
    return {
        "identity": [
            b"By=spiffe://a/gw;Hash=" + b"ab" * 32 + b';Subject="CN=a\\,b,O=c";URI=spiffe://acme.example/web;DNS=d.example\n'
            + _dumped({"typ": "dpop+jwt", "alg": "ES256", "jwk": {"kty": "EC", "crv": "P-256", "x": "f8", "y": "x_"}})
            + b"\n"
            + _dumped(
                {
                    "jti": "one",
                    "htm": "POST",
                    "htu": "https://mcp.example/acme/default/mcp",
                    "iat": 1.8e9,
                    "ath": "PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A",
                }
            )
        ],
        "request": [head + b"\n" + body for head, body in posts],
        "bare": [body for _, body in posts]
        + [b"[" + b",".join(body for _, body in posts[:3]) + b"]", b'{"jsonrpc":"2.0","id":"q","result":{}}'],
        "values": [b"=?base64?w6k=?=\na.b\n" + _dumped({"a": {"b": one}}) for one in ("\u00e9", 42, 4.5, True, None)],
        "places": [
            b"/acme/main/servers/git/rpc/batch\nfile:///{a}/{+b}{?c,d*}\nfile:///x/y/z?c=1",
            b"/mcp\nui://{x:3}\nui://a%2e",
        ],
        "ticket": [b"\x97\x00\xa1s\xc4\x01d\xc0\xa0", b"\x94\x00\xa1s\xa1t\xa1i", b"\x93\xcd\x07\xd0\x03\xc4\x01v"],
        "events": [
            bytes([n]) + b"id: 1\nretry: 5\nevent: message\ndata: " + one + b"\n\n" for n, one in enumerate(said, 1)
        ],
        "lines": [bytes([n]) + one + b"\n" + one[:20] + b"\r\n\n" for n, one in enumerate(said, 1)],
        "answer": [b"\x00\x40" + one for one in said]
        + [
            bytes([5, n]) + b": c\nid: 3\ndata: " + one + b"\n\ndata: " + said[9] + b"\n\n"
            for n, one in enumerate(said, 9)
        ],
        "http": [b"\x01\x40" + http % (b"application/json", len(one), one) for one in said[9:14]]
        + [
            b"\x01\x40HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"%x\r\n%b\r\n0\r\n\r\n"
            % (len(said[9]) + 8, b"data: " + said[9] + b"\n\n")
        ],
        "result": [_dumped(one) for one in (*_RESULTS, *_ERRORS)],
        "channel": [bytes([n * 5 & 255]) + one + b"\n" + said[9] for n, one in enumerate(said)],
        "websocket": [b"\x01\x40" + _frame(one) + _frame(b"", 0x89) + _frame(said[9]) for one in said[:9]]
        + [b"\x01\x03" + _frame(said[0][:9], 0x01) + _frame(said[0][9:], 0x80) + _frame(b"\x03\xe8bye", 0x88)],
        "front": [
            bytes([255 - n]) + b"POST /acme/main/mcp HTTP/1.1\r\n" + head.replace(b"\n", b"\r\n")
            + b"Content-Length: %d\r\n\r\n" % len(body) + body
            for n, (head, body) in enumerate(posts)
        ]
        + [b"\x40" + b"".join(b"%b /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n" % m for m in _VERBS)]
        + [b"\xff" + _UPGRADE + b"".join(_masked(one) for one in (posts[1][1], posts[32][1], b"{}"))]
        + [b"\x05" + _UPGRADE + _masked(posts[1][1][:9], 0x01) + _masked(b"p", 0x89) + _masked(posts[1][1][9:], 0x80)]
        + [
            b"\xffPOST /acme/main/%b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer k\r\nContent-Length: %d\r\n\r\n%b" % (leaf, len(body), body)
            for leaf, body in ((b"rpc", posts[0][1]), (b"rpc/batch", b"[" + posts[0][1] + b"]"), (b"messages", b"{}"))
        ]
        + [
            b"\x80GET /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: s\r\nLast-Event-ID: 1\r\nAccept: */*\r\n\r\n",
            b"\x80DELETE /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: s1\r\n\r\n",
            b"\x80GET /acme/main/sse HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
        ],
        "talk": [bytes([1 + 2 * (n % 4)]) + body for n, (_, body) in enumerate(posts)]
        + [
            b"\x05[" + b",".join(body for _, body in posts[:5]) + b"]",
            b"\x01" + b"\n".join(body for _, body in posts[:4]),
        ],
        "masked": [
            _dumped({"content": [{"type": "text", "text": f"a {secret} b"}], secret: {name: secret}})
            for _, name, secret in ALL
        ],
        "splice": [_dumped(one) for one in _RESULTS],
    }[target]  # fmt: skip
