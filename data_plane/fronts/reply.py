"""What the pipeline made of a request, as the JSON-RPC message its client gets: where no headers go with it."""

import logging
from collections.abc import Awaitable, Callable

import msgspec

from core.call import Inbound, Result
from core.errors import Refused, Unavailable
from core.mcp import errors, jsonrpc, translate

Handle = Callable[[Inbound], Awaitable[Result]]

log = logging.getLogger("toolgate.front")


class Reply(msgspec.Struct, frozen=True):
    """`status` is what HTTP would say; `failure` why there is no result, where the gateway itself has none."""

    status: int
    message: bytes
    result: bytes = b""
    """The result alone; empty for an error."""
    failure: Refused | Unavailable | None = None
    retry_after_s: float | None = None


async def reply(handle: Handle, inbound: Inbound, id_: bytes, server_info: bytes) -> Reply:
    """The response to a request, whatever becomes of it."""
    try:
        return of_result(await handle(inbound), inbound, id_, server_info)
    except (Refused, Unavailable) as failure:
        error = errors.of_failure(failure, inbound)
        return Reply(error.status, errors.body(id_, error), failure=failure, retry_after_s=error.retry_after_s)
    except Exception:  # noqa: BLE001 - the edge: a bug is logged with its id, and the caller told no more
        return of_bug(inbound, id_)


def of_result(result: Result, inbound: Inbound, id_: bytes, server_info: bytes) -> Reply:
    """Raises Unavailable for an upstream's result that cannot be read."""
    if result.error:
        status, error = errors.relay(result.error, inbound, result.era)
        return Reply(status, jsonrpc.error(id_, error))
    value = translate.result(
        result.result,
        method=inbound.method,
        upstream=result.era,
        revision=result.revision or inbound.revision,
        server_info=server_info,
    )
    return Reply(200, jsonrpc.result(id_, value), value)


def of_bug(inbound: Inbound, id_: bytes) -> Reply:
    """To be called where it was caught."""
    log.exception("internal error %s", inbound.id)  # noqa: LOG004 - as said
    error = errors.internal(inbound)
    return Reply(error.status, errors.body(id_, error))
