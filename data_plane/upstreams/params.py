"""The params of a request on a channel of many: stdio, WebSocket, HTTP+SSE, and any legacy request over HTTP."""

from core.call import Era, Outgoing, Route
from data_plane.upstreams import jsonrpc

_ROUNDS = frozenset(("inputResponses", "requestState"))


def own(era: Era, members: bytes, capabilities: bytes = b"{}") -> bytes:
    """Of the gateway's own request. `members`: besides `_meta`, each with a comma after it."""
    if era == "modern":
        return b'{%b"_meta":%b}' % (members, jsonrpc.meta(jsonrpc.MODERN, capabilities))
    return b"{%b}" % members.rstrip(b",")


def of_call(era: Era, route: Route, outgoing: Outgoing, token: int | None) -> bytes:
    """Of a caller's request. `token`: of its progress, None for none."""
    more = jsonrpc.of_caller(outgoing)
    modern = era == "modern"
    meta = jsonrpc.meta(
        jsonrpc.MODERN if modern else None,
        outgoing.capabilities,
        token=token,
        log_level=outgoing.log_level,
        more=more,
    )
    members = outgoing.members if modern or not outgoing.members else _without_rounds(outgoing.members)
    if outgoing.method == "tools/call":
        name, arguments = jsonrpc.encode(route.tool), outgoing.arguments or b"{}"
        members = b'"name":%b,"arguments":%b,%b' % (name, arguments, members)
    tail = b'"_meta":' + meta if len(meta) > 2 else b""
    return b"{%b}" % (members + tail).rstrip(b",")


def _without_rounds(members: bytes) -> bytes:
    """A retry in the modern sense is, to a server of the handshake era, the request anew."""
    if b"inputResponses" not in members and b"requestState" not in members:
        return members
    found = jsonrpc.members(b"{%b}" % members.rstrip(b","))
    return b"".join(b"%b:%b," % (jsonrpc.encode(name), raw) for name, raw in found.items() if name not in _ROUNDS)
