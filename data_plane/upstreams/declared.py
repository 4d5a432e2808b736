"""What a caller declared it can do: cut to what reaches it through here, and held against what a server asks."""

from functools import lru_cache
from typing import Final

import msgspec

from core.mcp.errors import INVALID_PARAMS, METHOD_NOT_FOUND
from data_plane.upstreams import jsonrpc
from data_plane.upstreams.jsonrpc import NotMcpError

_LONGEST = 16 * 1024
"""Capabilities beyond this are not worth a session of their own: nothing of them is told."""
QUESTIONS: Final = ("elicitation/create", "sampling/createMessage", "roots/list")


class Declared(msgspec.Struct, frozen=True):
    """What the caller can be asked, and the extensions it speaks."""

    form: bool = False
    url: bool = False
    sampling: bool = False
    sampling_context: bool = False
    sampling_tools: bool = False
    roots: bool = False
    extensions: bytes = b""
    """JSON object in sorted order; empty: none."""


@lru_cache(512)
def read(capabilities: bytes) -> Declared:
    """Of `Outgoing.capabilities`; what cannot be read declares nothing."""
    if len(capabilities) > _LONGEST:
        return Declared()
    try:
        found = jsonrpc.members(capabilities or b"{}")
        elicitation, sampling, roots = (_within(found, name) for name in ("elicitation", "sampling", "roots"))
        extensions = msgspec.json.decode(found.get("extensions", b"{}"), type=dict[str, dict[str, object]])
    except (NotMcpError, msgspec.MsgspecError):
        return Declared()
    return Declared(
        # Elicitation, "Capabilities": an empty object is form mode, as it was before there were modes.
        form=elicitation is not None and ("form" in elicitation or "url" not in elicitation),
        url=elicitation is not None and "url" in elicitation,
        sampling=sampling is not None,
        sampling_context=sampling is not None and "context" in sampling,
        sampling_tools=sampling is not None and "tools" in sampling,
        roots=roots is not None,
        extensions=msgspec.json.encode(extensions, order="sorted") if extensions else b"",
    )


def _within(found: dict[str, msgspec.Raw], name: str) -> dict[str, msgspec.Raw] | None:
    raw = found.get(name)
    return None if raw is None or bytes(raw) == b"null" else jsonrpc.members(raw)


@lru_cache(512)
def carried(capabilities: bytes, *, asked: bool) -> bytes:
    """What a session of the handshake era is told: equal sets as equal bytes. `asked`: questions reach the caller.

    Roots are told without `listChanged`, which a session shared by callers cannot keep its word on; the experimental
    tasks of 2025-11-25 are not carried.
    """
    said = read(capabilities)
    parts: list[bytes] = []
    if asked and (said.form or said.url):
        parts.append(b'"elicitation":' + (b"{}" if not said.url else _named((b"form", said.form), (b"url", said.url))))
    if said.extensions:
        parts.append(b'"extensions":' + said.extensions)
    if asked and said.roots:
        parts.append(b'"roots":{}')
    if asked and said.sampling:
        parts.append(
            b'"sampling":' + _named((b"context", said.sampling_context), (b"tools", said.sampling_tools)),
        )
    return b"{%b}" % b",".join(parts)


def askable(told: bytes) -> bool:
    """Whether a session told this may be asked anything."""
    said = read(told)
    return said.form or said.url or said.sampling or said.roots


def _named(*members: tuple[bytes, bool]) -> bytes:
    return b"{%b}" % b",".join(b'"%b":{}' % name for name, there in members if there)


class Refusal(msgspec.Struct, frozen=True):
    """Why a server's question is not put to the caller, as a JSON-RPC error."""

    code: int
    message: str


def refusal(said: Declared, method: str, params: bytes) -> Refusal | None:
    """None: the caller declared all that the question needs. Raises NotMcpError for params that are no object."""
    found = jsonrpc.members(params or b"{}")
    if method == "roots/list":
        return None if said.roots else _unknown(method)
    if method == "sampling/createMessage":
        if not said.sampling:
            return _unknown(method)
        if ("tools" in found or "toolChoice" in found) and not said.sampling_tools:
            return Refusal(INVALID_PARAMS, "this client does not support tools in sampling")
        return None
    if method == "elicitation/create":
        return _elicitation(said, bytes(found.get("mode", b'"form"')))
    return _unknown(method)


def _elicitation(said: Declared, mode: bytes) -> Refusal | None:
    if not (said.form or said.url):
        return _unknown("elicitation/create")
    if (mode == b'"form"' and said.form) or (mode == b'"url"' and said.url):
        return None
    return Refusal(INVALID_PARAMS, "this client does not support that mode of elicitation")


def _unknown(method: str) -> Refusal:
    return Refusal(METHOD_NOT_FOUND, f"this client does not support {method}")
