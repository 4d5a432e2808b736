"""A request to a server of revision 2026-07-28: one POST that says everything, and closing it cancels."""

from functools import lru_cache

from core.call import Notify, Outgoing, Raw, Route
from core.mcp.headers import encode_value
from data_plane.upstreams import jsonrpc, params
from data_plane.upstreams.answer import Answer
from data_plane.upstreams.failure import unavailable
from data_plane.upstreams.jsonrpc import Listener
from data_plane.upstreams.upstream import Upstream

_CONTENT = b"Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"


@lru_cache(64)
def own_headers(method: str) -> bytes:
    """Header lines that every modern request has."""
    return b"%bMCP-Protocol-Version: %b\r\nMcp-Method: %b\r\n" % (_CONTENT, jsonrpc.MODERN.encode(), method.encode())


_NAMED = frozenset(("tools/call", "prompts/get", "resources/read", "tasks/get", "tasks/update", "tasks/cancel"))
"""Requests that `Mcp-Name` says of what they are about."""


class _Answer(Answer):
    """Its outcome is Raw: sessions and resumption are the legacy era's."""

    closes = True


async def call(upstream: Upstream, route: Route, outgoing: Outgoing, notify: Notify, deadline: float) -> Raw:
    """Any method. Raises Unavailable."""
    if outgoing.members or outgoing.method != "tools/call":
        return await _other(upstream, route, outgoing, notify, deadline)
    request_id = next(upstream.ids)
    token = request_id if outgoing.wants_progress else None
    name, own = _name(route.tool)
    more = jsonrpc.of_caller(outgoing)
    meta = jsonrpc.meta(jsonrpc.MODERN, outgoing.capabilities, token=token, log_level=outgoing.log_level, more=more)
    body = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%b,"arguments":%b,"_meta":%b}}' % (
        request_id,
        name,
        outgoing.arguments or b"{}",
        meta,
    )
    if route.header_params:
        own += _mirrored(route)
    own += trace_headers(outgoing.traceparent, outgoing.tracestate)
    listener = Listener(token, outgoing.log_level)
    answer = _Answer(request_id, route.backend.max_result_bytes, listener, notify, loop=upstream.loop)
    outcome = await upstream.exchange(upstream.post(route.headers, own, body), answer, deadline)
    assert isinstance(outcome, Raw)
    return outcome


async def _other(upstream: Upstream, route: Route, outgoing: Outgoing, notify: Notify, deadline: float) -> Raw:
    """What a call of a tool is not, or has besides."""
    request_id = next(upstream.ids)
    token = request_id if outgoing.wants_progress else None
    sent = params.of_call("modern", route, outgoing, token)
    own = own_headers(outgoing.method)
    if outgoing.method in _NAMED:
        own += _name_header(route.tool)
    own += _mirrored(route) + trace_headers(outgoing.traceparent, outgoing.tracestate)
    listener = Listener(token, outgoing.log_level)
    answer = _Answer(request_id, route.backend.max_result_bytes, listener, notify, loop=upstream.loop)
    body = jsonrpc.request(request_id, outgoing.method, sent)
    outcome = await upstream.exchange(upstream.post(route.headers, own, body), answer, deadline)
    assert isinstance(outcome, Raw)
    return outcome


async def ask(upstream: Upstream, route: Route, method: str, members: bytes, deadline: float) -> Raw:
    """A request of the gateway's own, of a method that needs no `Mcp-Name`. `members`: of params besides `_meta`, each
    with a comma after it.
    """
    request_id = next(upstream.ids)
    body = jsonrpc.request(request_id, method, params.own("modern", members))
    answer = _Answer(request_id, route.backend.max_result_bytes, Listener(None, ""), lambda _: None)
    outcome = await upstream.exchange(upstream.post(route.headers, own_headers(method), body), answer, deadline)
    assert isinstance(outcome, Raw)
    return outcome


@lru_cache(4096)
def _name(tool: str) -> tuple[bytes, bytes]:
    """A tool's name as JSON, and the header lines of all its calls."""
    return jsonrpc.encode(tool), own_headers("tools/call") + _name_header(tool)


def _name_header(name: str) -> bytes:
    return b"Mcp-Name: %b\r\n" % encode_value(name).encode("ascii")


def _mirrored(route: Route) -> bytes:
    if not route.header_params:
        return b""
    for _, value in route.header_params:
        if any(b < 32 or b == 127 for b in value):
            raise unavailable("a mirrored argument is not encoded for a header")
    return b"".join(b"%b: %b\r\n" % pair for pair in route.header_params)


def trace_headers(traceparent: str, tracestate: str) -> bytes:
    """W3C trace context; what could not have come in a header does not leave in one."""
    if not traceparent or not (traceparent.isascii() and traceparent.isprintable()):
        return b""
    line = b"traceparent: %b\r\n" % traceparent.encode("ascii")
    if tracestate and tracestate.isascii() and tracestate.isprintable():
        line += b"tracestate: %b\r\n" % tracestate.encode("ascii")
    return line
