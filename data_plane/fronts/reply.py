"""What the pipeline made of a request, as the JSON-RPC message its client gets, on every transport that has such."""

import logging
from collections.abc import Awaitable, Callable

import msgspec

from core.call import Inbound, Result
from core.errors import Refused, Unavailable
from core.mcp import errors, jsonrpc, translate

Handle = Callable[[Inbound], Awaitable[Result]]

log = logging.getLogger("toolgate.front")


class Response(msgspec.Struct, frozen=True):
    """A JSON-RPC response."""

    status: int
    """What HTTP says with it."""
    message: bytes
    result: bytes = b""
    """The result alone; empty for an error."""
    failure: Refused | Unavailable | None = None
    """Why there is no result, where the gateway itself has none."""
    retry_after_s: float | None = None
    judged: bool = True
    """The pipeline has seen it, and so whether a page of its origin may."""
    etag: str = ""
    """Of a list: equal where the caller sees the same."""


async def reply(handle: Handle, inbound: Inbound, id_: bytes, server_info: bytes) -> Response:
    """The response to a request, whatever becomes of it."""
    try:
        return of_result(await handle(inbound), inbound, id_, server_info)
    except (Refused, Unavailable) as failure:
        error = errors.of_failure(failure, inbound)
        return Response(error.status, errors.body(id_, error), failure=failure, retry_after_s=error.retry_after_s)
    except Exception:  # noqa: BLE001 - the edge: a bug is logged with its id, and the caller told no more
        return of_bug(inbound, id_)


def of_result(result: Result, inbound: Inbound, id_: bytes, server_info: bytes) -> Response:
    """Raises Unavailable for an upstream's result that cannot be read."""
    if result.error:
        status, error = errors.relay(result.error, inbound, result.era)
        return Response(status, jsonrpc.error(id_, error))
    value = translate.result(
        result.result,
        method=inbound.method,
        upstream=result.era,
        revision=result.revision or inbound.revision,
        server_info=server_info,
    )
    return Response(200, jsonrpc.result(id_, value), value, etag=result.etag)


def of_bug(inbound: Inbound, id_: bytes) -> Response:
    """To be called where it was caught."""
    log.exception("internal error %s", inbound.id)  # noqa: LOG004 - as said
    error = errors.internal(inbound)
    return Response(error.status, errors.body(id_, error))
