"""Streamable HTTP, both eras on one URL, as a raw ASGI application.

A POST is read up to a cap, understood by `core.mcp`, answered by the pipeline, and sent as JSON or as an event stream.
Nothing here knows a tenant, a tool or a rule.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from time import monotonic_ns

import msgspec

from core.bound import Bound
from core.call import Inbound, Result
from core.errors import Reason, Refused, Unavailable
from core.mcp import classify, errors, headers, jsonrpc, results, translate
from core.mcp.classify import Arrival
from core.mcp.errors import INVALID_REQUEST, Rejected, WireError
from core.mcp.headers import Head
from core.mcp.origin import host_allowed, origin_allowed
from core.mcp.revisions import LEGACY
from data_plane.fronts import heads, page
from data_plane.fronts.address import Address, address
from data_plane.fronts.asgi import NO_STORE, NOSNIFF, Header, Receive, Scope, Send, answer
from data_plane.fronts.bodies import Bodies
from data_plane.fronts.exchange import MAX_QUEUED_BYTES, Cause, Exchange
from data_plane.fronts.inflight import InFlight
from data_plane.fronts.server import CONNECTION, Connection
from data_plane.streams import Streams

Handle = Callable[[Inbound], Awaitable[Result]]
Elsewhere = Callable[[Scope, Receive, Send, Head, Address], Awaitable[None]]
"""Serves the requests of another transport. May raise Rejected before it answers."""

_log = logging.getLogger("toolgate.front")

_TEXT: tuple[Header, ...] = ((b"content-type", b"text/plain; charset=utf-8"), NOSNIFF, NO_STORE)
_ALLOW: Header = (b"allow", b"POST, OPTIONS")
_NOT_SERVED = "serve at /{tenant}/{endpoint}/mcp or /mcp"


class FrontOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What of the front an operator may choose."""

    public_hosts: frozenset[str] = frozenset()
    """Host names the gateway is reached under, besides loopback's; lower case, no port. `*`: any."""
    max_body_bytes: int = 4 * 1024 * 1024
    """Hard cap of a body, whatever an endpoint allows."""
    max_buffered_bytes: int = 256 * 1024 * 1024
    """Of large bodies being read, all together; above, 503."""
    quiet_s: float = 15.0
    """After so long without a word the answer becomes a stream, and gets a comment as often."""


class Front:
    """One per worker. `serve` in `data_plane.fronts.server` runs it."""

    def __init__(
        self,
        handle: Handle,
        options: FrontOptions,
        *,
        version: str,
        broadcast_cancel: Callable[[bytes, bytes], None],
        healthy: Callable[[], bool],
        ready: Callable[[], bool],
        preflight_origins: Callable[[str | None, str], Iterable[str]] = lambda _tenant, _endpoint: (),
        streams: Streams | None = None,
        bodies: Bodies | None = None,
        others: Mapping[str, Elsewhere] | None = None,
    ) -> None:
        """`version`: of the distribution. `broadcast_cancel`: tells the node's other workers of a session's cancelled
        request (session id, request id as JSON) that is not here. `preflight_origins`: allowed origins of an endpoint,
        as far as known; a preflight opens nothing, each request's origin is judged again in the pipeline.
        `others`: what serves the other transports, by the last part of the path.
        """
        self._handle = handle
        self._options = options
        self._server_info = results.server_info(version)
        self._broadcast_cancel = broadcast_cancel
        self._healthy = healthy
        self._ready = ready
        self._preflight_origins = preflight_origins
        self._streams = streams
        self._others = others or {}
        self._in_flight = InFlight(options.quiet_s)
        self._bodies = bodies or Bodies(options.max_body_bytes, options.max_buffered_bytes)
        self._too_slow = 0
        self._serial = 0
        self._prefix = os.urandom(8).hex()
        self._host_allowed = lru_cache(maxsize=1024)(lambda host: host_allowed(host, options.public_hosts))

    def bounds(self) -> dict[str, Bound]:
        """`stream_bytes`: of the client that leaves most unread."""
        most = max(self._in_flight.queued_bytes(), default=0)
        return {
            "body_bytes": self._bodies.bound,
            "stream_bytes": Bound(most, MAX_QUEUED_BYTES, self._too_slow),
        }

    @property
    def in_flight(self) -> int:
        """Calls in the pipeline now."""
        return len(self._in_flight)

    def cancel(self, session: bytes, request_id: bytes) -> bool:
        """Cancels a session's request if it runs here. `request_id`: as JSON."""
        return self._in_flight.cancel(session, request_id)

    def abandon(self) -> None:
        """Cancels everything in flight; each caller is told that the gateway is going down."""
        self._in_flight.cancel_all("shutdown")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._route(scope, receive, send)
        except Rejected as rejection:
            error = rejection.error
            await answer(send, error.status, (*heads.WHOLE, *heads.local_cors(scope)), errors.body(rejection.id, error))

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = str(scope["path"]), scope["method"]
        if path in ("/healthz", "/readyz"):
            await self._probe(path, send)
            return
        head = headers.read(heads.raw(scope))
        host = head.text(b"host")
        if not self._host_allowed(host):
            raise Rejected(421, INVALID_REQUEST, "this gateway is not known under that Host")
        place = address(path)
        elsewhere = self._others.get(place.leaf) if place is not None else None
        if place is None or (place.leaf != "mcp" and elsewhere is None):
            raise Rejected(404, 404, errors.NOTHING_HERE)
        if method == "OPTIONS":
            await self._preflight(send, head, host, place)
        elif elsewhere is not None:
            await elsewhere(scope, receive, send, head, place)
        elif method == "POST":
            await self._post(scope, receive, send, head, place)
        elif page.wanted(scope, head):
            await page.show(scope, send, head, place)
        else:
            error = WireError(405, INVALID_REQUEST, "send MCP requests with POST; there is no stream to GET here")
            await answer(send, 405, (*heads.WHOLE, _ALLOW), errors.body(errors.NULL, error))

    async def _probe(self, path: str, send: Send) -> None:
        well = self._healthy() if path == "/healthz" else self._ready()
        await answer(send, 200 if well else 503, _TEXT, b"ok\n" if well else b"not ready\n")

    async def _preflight(self, send: Send, head: Head, host: str, place: Address) -> None:
        origin = head.text(b"origin")
        if not origin or b"access-control-request-method" not in head.values:
            await answer(send, 204, (_ALLOW, NOSNIFF))
            return
        if not origin_allowed(origin, host, self._preflight_origins(place.tenant, place.endpoint)):
            raise Rejected(403, 403, "this origin is not allowed here")
        wanted = (
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", head.values.get(b"access-control-request-headers", b"*")),
            (b"access-control-max-age", b"600"),
        )
        await answer(send, 204, (*heads.cors(origin), *wanted, NOSNIFF))

    async def _post(self, scope: Scope, receive: Receive, send: Send, head: Head, place: Address) -> None:
        began = monotonic_ns()
        if not headers.is_json(head.values.get(b"content-type", b"")):
            raise Rejected(400, INVALID_REQUEST, "Content-Type must be application/json")
        json, streams = headers.accepts(head.values.get(b"accept", b""))
        version = head.text(b"mcp-protocol-version")
        if not json or not (streams or version in ("", *LEGACY)):
            raise _not_acceptable(b"null")
        connection = scope.get(CONNECTION)
        ours = connection if isinstance(connection, Connection) else None
        body = await self._bodies.read(scope, receive, head)
        if body is None:
            return
        arrival = classify.arrive(jsonrpc.parse(body), head)
        if arrival.era == "modern" and arrival.message.id and not streams:
            raise _not_acceptable(arrival.message.id)
        if arrival.era == "modern" and not arrival.message.id:
            classify.modern_notification(arrival)
            await answer(send, 202, (NOSNIFF,))
            return
        self._serial += 1
        inbound = classify.understand(arrival, f"{self._prefix}-{self._serial:x}", place.tenant, place.endpoint)
        inbound.server = place.server
        heads.tell(inbound, head)
        inbound.client_address = heads.client_address(scope)
        inbound.received_ns, inbound.size_bytes = began, len(body)
        if arrival.message.id:
            exchange = Exchange(
                inbound,
                send,
                respond=ours.respond if ours is not None else None,
                streams=streams and inbound.method != "initialize",
                cors=heads.cors(inbound.origin),
                loop=self._in_flight.loop,
            )
            await self._request(scope, receive, arrival, inbound, exchange)
        else:
            await self._notification(send, inbound)

    async def _notification(self, send: Send, inbound: Inbound) -> None:
        """A session's notification. The pipeline proves the session first, so nobody cancels another's request."""
        try:
            await self._handle(inbound)
        except (Refused, Unavailable) as failure:
            error = errors.of_failure(failure, inbound)
            await answer(
                send, max(error.status, 400), heads.of_failure(failure, error), errors.body(errors.NULL, error)
            )
            return
        except Exception:  # noqa: BLE001 - the edge: a bug is logged with its id, and the caller told no more
            _log.exception("internal error %s", inbound.id)
            await answer(send, 500, heads.WHOLE, errors.body(errors.NULL, errors.internal(inbound)))
            return
        if inbound.method == "notifications/cancelled":
            self._cancelled(inbound)
        await answer(send, 202, (NOSNIFF, *heads.cors(inbound.origin)))

    def _cancelled(self, inbound: Inbound) -> None:
        request_id = classify.cancelled_id(inbound.params)
        if request_id and not self.cancel(inbound.session, request_id):
            self._broadcast_cancel(inbound.session, request_id)

    async def _request(
        self, scope: Scope, receive: Receive, arrival: Arrival, inbound: Inbound, exchange: Exchange
    ) -> None:
        id_ = arrival.message.id
        inbound.notify = exchange.notify
        leave = self._in_flight.enter(exchange, inbound.session, id_)
        unwatch = _watch(scope, receive, exchange) if arrival.era == "modern" else None
        try:
            status, more, message = await self._answer(inbound, id_, exchange)
        except asyncio.CancelledError:
            _forgive(exchange.cause)
            self._too_slow += exchange.cause == "slow"
            if exchange.cause in ("disconnected", "slow"):
                _give_up(scope)
                await exchange.drop()
                return
            status, more, message = _cut_short(exchange.cause, inbound, id_)
        finally:
            exchange.over()
            leave()
            if unwatch is not None:
                unwatch()
        if not exchange.answered(status, more, message):
            await exchange.finish(status, more, message)

    async def _answer(self, inbound: Inbound, id_: bytes, exchange: Exchange) -> tuple[int, Sequence[Header], bytes]:
        """Status, headers and body of what the pipeline made of it. The one place where a bug is caught."""
        try:
            result = await self._handle(inbound)
            exchange.running = False
            return self._success(inbound, id_, result)
        except (Refused, Unavailable) as failure:
            error = errors.of_failure(failure, inbound)
            return (
                error.status,
                (*heads.of_failure(failure, error), *heads.cors(inbound.origin, failure)),
                errors.body(id_, error),
            )
        except Exception:  # noqa: BLE001 - as above
            _log.exception("internal error %s", inbound.id)
            error = errors.internal(inbound)
            return error.status, (*heads.WHOLE, *heads.cors(inbound.origin)), errors.body(id_, error)

    def _success(self, inbound: Inbound, id_: bytes, result: Result) -> tuple[int, Sequence[Header], bytes]:
        cors = heads.cors(inbound.origin)
        if result.error:
            status, error = errors.relay(result.error, inbound, result.era)
            return status, (*heads.WHOLE, *cors), jsonrpc.error(id_, error)
        value = translate.result(
            result.result,
            method=inbound.method,
            upstream=result.era,
            revision=result.revision or inbound.revision,
            server_info=self._server_info,
        )
        if result.session:
            cors = (*cors, (b"mcp-session-id", result.session.encode("ascii")))
        return 200, (*heads.WHOLE, *cors) if cors else heads.WHOLE, jsonrpc.result(id_, value)


def _watch(scope: Scope, receive: Receive, exchange: Exchange) -> Callable[[], None]:
    """Cancels the call when its client goes away; call what it returns when the call is over."""
    connection = scope.get(CONNECTION)
    if isinstance(connection, Connection):
        return connection.watch(lambda: exchange.cancel("disconnected"))
    watcher = asyncio.get_running_loop().create_task(_disconnected(receive, exchange))

    def unwatch() -> None:
        watcher.cancel()

    return unwatch


def _give_up(scope: Scope) -> None:
    connection = scope.get(CONNECTION)
    if isinstance(connection, Connection):
        connection.give_up()


async def _disconnected(receive: Receive, exchange: Exchange) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    exchange.cancel("disconnected")


def _forgive(cause: Cause | None) -> None:
    """A cancellation that this front asked for ends here; any other goes on to whoever asked."""
    task = asyncio.current_task()
    if cause is None:
        raise asyncio.CancelledError
    if task is not None:
        task.uncancel()


def _cut_short(cause: Cause | None, inbound: Inbound, id_: bytes) -> tuple[int, Sequence[Header], bytes]:
    if cause == "shutdown":
        failure = Unavailable(
            Reason.OVERLOADED, "the gateway is shutting down; send the request again", retry_after_s=1
        )
    else:
        failure = Unavailable(Reason.CANCELLED, "the request was cancelled")
    error = errors.of_failure(failure, inbound)
    return error.status, (*heads.of_failure(failure, error), *heads.cors(inbound.origin)), errors.body(id_, error)


def _not_acceptable(id_: bytes) -> Rejected:
    return Rejected(406, INVALID_REQUEST, "Accept must list application/json and text/event-stream", id=id_)
