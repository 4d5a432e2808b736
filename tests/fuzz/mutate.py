"""Changes to an input that keep it near to a message: libFuzzer's own know bytes, these know JSON."""

import json
from collections.abc import Callable
from random import Random

from core.mcp.revisions import META_PREFIX, SUPPORTED

_VALUES: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 2**63, -(2**64), 10**40, 1.5, 1e308, -0.0, "", "a", "\x00", "\u00e9", "\ud800",
    "\U0001f600", "x" * 300, "%2e%2e/", "=?base64?QQ==?=", "null", "1", [], {}, [[]], [{}], {"": {}}, {"a": {"b": [1]}},
    "tools/call", "tools/list", "prompts/get", "resources/read", "completion/complete", "subscriptions/listen",
    "tasks/get", "tasks/update", "initialize", "ping", "notifications/cancelled", "notifications/initialized", "GET",
    "notifications/progress", "notifications/message", "elicitation/create", "sampling/createMessage", "roots/list",
    "complete", "input_required", "task", "text", "audio", "image", "resource", "resource_link", "url", "form",
    "object", "2.0", *SUPPORTED,
)  # fmt: skip
_NAMES = (
    "jsonrpc", "id", "method", "params", "result", "error", "code", "message", "data", "name", "uri", "taskId",
    "arguments", "cursor", "_meta", "progressToken", "progress", "level", "ref", "argument", "context", "requestState",
    "inputResponses", "inputRequests", "resultType", "ttlMs", "cacheScope", "content", "contents", "structuredContent",
    "tools", "prompts", "resources", "resourceTemplates", "messages", "title", "type", "outputSchema", "isError",
    "requestId", "mode", "elicitationId", "elicitations", "url", "protocolVersion", "capabilities", "elicitation",
    "sampling", "roots", "traceparent", "tracestate", "mimeType", "text", "blob", "resource", "role", "",
    *(META_PREFIX + name for name in ("protocolVersion", "clientCapabilities", "logLevel", "serverInfo")),
    META_PREFIX + "subscriptionId",
)  # fmt: skip
_decoder = json.JSONDecoder()


def mutated(data: bytes, chance: Random, plain: Callable[[bytes], bytes]) -> bytes:
    """`plain`: what to do with bytes that hold no JSON, and with every third input all the same."""
    text = data.decode("latin-1")
    places = [at for at, char in enumerate(text) if char in "{["]
    if not places or chance.random() < 0.3:
        return plain(data)
    at = places[0] if chance.random() < 0.6 else chance.choice(places)
    try:
        value, end = _decoder.raw_decode(text, at)
    except (ValueError, RecursionError):
        return plain(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        value = _changed(value, chance)
    return _with_length(data[:at], _written(value, chance), data[end:])


def _changed(value: object, chance: Random, depth: int = 0) -> object:
    if depth > 30 or not isinstance(value, dict | list) or not value or chance.random() < 0.12:
        return _anew(value, chance)
    if isinstance(value, list):
        at = chance.randrange(len(value))
        return [*value[:at], *_several(value[at], chance, depth), *value[at + 1 :]]
    name = chance.choice(list(value))
    rest = dict(value)
    what = chance.random()
    if what < 0.1:
        del rest[name]
    elif what < 0.2:
        rest[chance.choice(_NAMES)] = chance.choice((value[name], chance.choice(_VALUES)))
    elif what < 0.25:
        rest = {chance.choice(_NAMES) if key == name else key: one for key, one in value.items()}
    else:
        rest[name] = _changed(value[name], chance, depth + 1)
    return rest


def _several(value: object, chance: Random, depth: int) -> list[object]:
    what = chance.random()
    if what < 0.15:
        return []
    changed = _changed(value, chance, depth + 1)
    return [value, changed] if what < 0.3 else [changed]


def _anew(value: object, chance: Random) -> object:
    what = chance.random()
    if what < 0.1:
        return [value]
    if what < 0.2:
        return {chance.choice(_NAMES): value}
    if what < 0.25 and isinstance(value, str):
        return value[: chance.randrange(len(value) + 1)] + chance.choice('"\\/\x7f\u2028%{}=?')
    if what < 0.26:
        for _ in range(chance.choice((20, 99, 120))):
            value = [value]
        return value
    return chance.choice(_VALUES)


def _written(value: object, chance: Random) -> bytes:
    """As JSON of one taste or another; sometimes with a member twice, sometimes with what is no JSON."""
    raw = json.dumps(
        value, ensure_ascii=chance.random() < 0.5, separators=(",", ":") if chance.random() < 0.8 else (" ,\t", ": ")
    )
    if chance.random() < 0.04 and raw[0] == "{" and len(raw) > 2:
        raw = f'{{"{chance.choice(_NAMES)}":{json.dumps(chance.choice(_VALUES))},{raw[1:]}'
    return raw.encode("utf-8", "surrogatepass")


def _with_length(before: bytes, changed: bytes, after: bytes) -> bytes:
    """A Content-Length that was right stays so."""
    head, mark, rest = before.rpartition(b"Content-Length: ")
    if not mark:
        return before + changed + after
    _, _, body = rest.partition(b"\r\n\r\n")
    return head + mark + b"%d\r\n\r\n" % (len(body) + len(changed) + len(after)) + body + changed + after
