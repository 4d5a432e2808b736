"""A request to a server of revision 2026-07-28: one POST that says everything, and closing it cancels."""

import asyncio
from functools import lru_cache
from typing import NamedTuple

from core.call import Notify, Outgoing, Raw, Route
from core.mcp.headers import encode_value
from data_plane.upstreams import jsonrpc
from data_plane.upstreams.answer import Answer
from data_plane.upstreams.failure import unavailable
from data_plane.upstreams.jsonrpc import Listener
from data_plane.upstreams.upstream import Upstream

_CONTENT = b"Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"


class _Request(NamedTuple):
    id: int
    method: str
    params: bytes
    own: bytes
    """Header lines besides those every modern request has."""
    listener: Listener
    notify: Notify


async def call(upstream: Upstream, route: Route, outgoing: Outgoing, notify: Notify, deadline: float) -> Raw:
    """tools/call. Raises Unavailable."""
    request_id = next(upstream.ids)
    token = request_id if outgoing.wants_progress else None
    params = b'{"name":%b,"arguments":%b,"_meta":%b}' % (
        jsonrpc.encode(route.tool),
        outgoing.arguments or b"{}",
        jsonrpc.meta(
            jsonrpc.MODERN,
            outgoing.capabilities,
            token=token,
            log_level=outgoing.log_level,
            trace=jsonrpc.trace_members(outgoing.traceparent, outgoing.tracestate),
        ),
    )
    own = b"Mcp-Name: %b\r\n%b%b" % (
        _name(route.tool),
        _mirrored(route),
        trace_headers(outgoing.traceparent, outgoing.tracestate),
    )
    request = _Request(request_id, "tools/call", params, own, Listener(token, outgoing.log_level), notify)
    return await _exchange(upstream, route, request, deadline)


async def ask(upstream: Upstream, route: Route, method: str, members: bytes, deadline: float) -> Raw:
    """Any method that needs no `Mcp-Name`. `members`: those of params besides `_meta`, each with a comma after it."""
    params = b'{%b"_meta":%b}' % (members, jsonrpc.meta(jsonrpc.MODERN, b"{}"))
    request = _Request(next(upstream.ids), method, params, b"", Listener(None, ""), lambda _: None)
    return await _exchange(upstream, route, request, deadline)


async def _exchange(upstream: Upstream, route: Route, request: _Request, deadline: float) -> Raw:
    posted = upstream.post(
        route.headers,
        b"%bMCP-Protocol-Version: %b\r\nMcp-Method: %b\r\n%b"
        % (_CONTENT, jsonrpc.MODERN.encode(), request.method.encode(), request.own),
        jsonrpc.request(request.id, request.method, request.params),
    )
    answer = Answer(request.id, route.backend.max_result_bytes, request.listener, request.notify)
    try:
        outcome = await upstream.exchange(posted, answer, deadline)
    except asyncio.CancelledError:
        if answer.connection is not None:
            answer.connection.abandon()
        raise
    assert isinstance(outcome, Raw)  # Sessions and resumption are the legacy era's.
    return outcome


@lru_cache(4096)
def _name(tool: str) -> bytes:
    return encode_value(tool).encode("ascii")


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
