"""What a server of the handshake era can only say in an error, in the words of the modern era."""

import re
from typing import Final

from core.call import Outgoing, Raw
from core.mcp import rounds
from core.mcp.errors import METHOD_NOT_FOUND, MISSING_CAPABILITY, URL_ELICITATION_REQUIRED
from data_plane.upstreams import declared, jsonrpc
from data_plane.upstreams.declared import Declared

_CAPABILITY: Final = re.compile("elicitation|sampling|roots", re.IGNORECASE)
_LACKS: Final = re.compile(
    "client (?:does not|doesn't|cannot) support|(?:elicitation|sampling|roots) (?:is |are )?not supported",
    re.IGNORECASE,
)
"""As the official SDKs say it, and this gateway."""


def translated(raw: Raw, outgoing: Outgoing) -> Raw:
    """An error of such a server for a caller of the modern era, who has other words for it; for others `raw` itself.

    `input_required` with a url elicitation for each that -32042 names: the retry is the original request, for the
    server knows by itself whether the user has been there. -32021 where the server says that the client lacks a
    capability: by itself, or because it was told so when it asked.
    """
    if not outgoing.takes_input_required:
        return raw
    code, said = jsonrpc.error_code(raw.error), declared.read(outgoing.capabilities)
    if code == URL_ELICITATION_REQUIRED:
        return _visits(raw) if said.url else raw
    message = jsonrpc.error_message(raw.error)
    named = _CAPABILITY.search(message)
    if named is None or (code != METHOD_NOT_FOUND and not _LACKS.search(message)):
        return raw
    required = _required(named[0].lower(), message, said)
    return _lacking(required, raw) if required else raw


def _required(capability: str, message: str, said: Declared) -> bytes:
    """As a ClientCapabilities object; empty: the caller declared it, so that is not what the server means."""
    if capability == "roots":
        return b"" if said.roots else b'{"roots":{}}'
    if capability == "sampling":
        if not said.sampling:
            return b'{"sampling":{}}'
        return b'{"sampling":{"tools":{}}}' if "tools" in message and not said.sampling_tools else b""
    if not (said.form or said.url):
        return b'{"elicitation":{}}'
    if "mode" not in message and "url" not in message.lower():
        return b""
    missing = [mode for mode, there in (("form", said.form), ("url", said.url)) if not there]
    return jsonrpc.encode({"elicitation": {mode: {} for mode in missing}}) if missing else b""


def _lacking(required: bytes, raw: Raw) -> Raw:
    message = jsonrpc.encode(jsonrpc.error_message(raw.error))
    error = b'{"code":%d,"message":%b,"data":{"requiredCapabilities":%b}}' % (MISSING_CAPABILITY, message, required)
    return Raw(error=error, size_bytes=raw.size_bytes)


def _visits(raw: Raw) -> Raw:
    requests = {f"url-{number}": _request(one) for number, one in enumerate(rounds.visits(raw.error), 1)}
    if not requests:
        return raw
    result = jsonrpc.encode({"resultType": "input_required", "inputRequests": requests})
    return Raw(result=result, size_bytes=raw.size_bytes)


def _request(one: rounds.Visit) -> dict[str, object]:
    params = {"mode": "url", "url": one.url, "message": one.message}
    return {"method": "elicitation/create", "params": params}
