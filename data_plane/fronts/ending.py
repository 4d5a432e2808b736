"""How a request ends that does not end in a result: its client leaves, it is cut short, or something went wrong."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from core.call import Inbound
from core.errors import Reason, Refused, Unavailable
from core.mcp import errors
from data_plane.fronts import heads
from data_plane.fronts.asgi import Header, Receive, Scope
from data_plane.fronts.exchange import Cause, Exchange
from data_plane.fronts.server import CONNECTION, Connection

_log = logging.getLogger("toolgate.front")


def watch(scope: Scope, receive: Receive, exchange: Exchange, inbound: Inbound) -> Callable[[], None] | None:
    """Tells the call when its client goes away; call what it returns when the call is over."""
    connection = scope.get(CONNECTION)
    modern = inbound.era == "modern"
    if isinstance(connection, Connection):
        return connection.watch(exchange.disconnected if modern else exchange.lost)
    if not modern:
        return None
    watcher = asyncio.get_running_loop().create_task(_disconnected(receive, exchange))

    def unwatch() -> None:
        watcher.cancel()

    return unwatch


def give_up(scope: Scope) -> None:
    connection = scope.get(CONNECTION)
    if isinstance(connection, Connection):
        connection.give_up()


async def _disconnected(receive: Receive, exchange: Exchange) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    exchange.disconnected()


def of_failure(failure: Exception, inbound: Inbound, id_: bytes) -> tuple[int, Sequence[Header], bytes]:
    """Status, headers and body of what went wrong. To be called where it was caught: a bug is logged with its id."""
    if isinstance(failure, Refused | Unavailable):
        error = errors.of_failure(failure, inbound)
        more = (*heads.of_failure(failure, error), *heads.cors(inbound.origin, failure))
    else:
        _log.error("internal error %s", inbound.id, exc_info=failure)
        error = errors.internal(inbound)
        more = (*heads.WHOLE, *heads.cors(inbound.origin))
    return error.status, more, errors.body(id_, error)


def forgive(cause: Cause | None) -> None:
    """A cancellation that this front asked for ends here; any other goes on to whoever asked."""
    task = asyncio.current_task()
    if cause is None:
        raise asyncio.CancelledError
    if task is not None:
        task.uncancel()


def cut_short(cause: Cause | None, inbound: Inbound, id_: bytes) -> tuple[int, Sequence[Header], bytes]:
    if cause == "shutdown":
        failure = Unavailable(
            Reason.OVERLOADED, "the gateway is shutting down; send the request again", retry_after_s=1
        )
    else:
        failure = Unavailable(Reason.CANCELLED, "the request was cancelled")
    error = errors.of_failure(failure, inbound)
    return error.status, (*heads.of_failure(failure, error), *heads.cors(inbound.origin)), errors.body(id_, error)
