"""The one thing a server of 2025-11-25 asks for in an error, in the words of the modern era."""

import msgspec

from core.call import Outgoing, Raw
from data_plane.upstreams import declared, jsonrpc

URL_ELICITATION_REQUIRED = -32042
_MOST = 16


class _Required(msgspec.Struct, frozen=True):
    class Elicitation(msgspec.Struct, frozen=True):
        url: str
        message: str = ""
        mode: str = "url"

    class Data(msgspec.Struct, frozen=True):
        elicitations: list["_Required.Elicitation"]

    data: Data


def as_result(raw: Raw, outgoing: Outgoing) -> Raw:
    """`input_required` with a url elicitation for each that error -32042 names, for callers who take that; else `raw`.

    The retry is the original request: the server knows by itself whether the user has been there.
    """
    if not outgoing.takes_input_required or jsonrpc.error_code(raw.error) != URL_ELICITATION_REQUIRED:
        return raw
    if not declared.read(outgoing.capabilities).url:
        return raw
    try:
        asked = msgspec.json.decode(raw.error, type=_Required).data.elicitations[:_MOST]
    except msgspec.MsgspecError:
        return raw
    requests = {f"url-{number}": _request(one) for number, one in enumerate(asked, 1) if one.mode == "url"}
    if not requests:
        return raw
    result = jsonrpc.encode({"resultType": "input_required", "inputRequests": requests})
    return Raw(result=result, size_bytes=raw.size_bytes)


def _request(one: "_Required.Elicitation") -> dict[str, object]:
    params = {"mode": "url", "url": one.url, "message": one.message}
    return {"method": "elicitation/create", "params": params}
