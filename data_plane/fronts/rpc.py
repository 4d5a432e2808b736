"""Plain JSON-RPC for scripts, and what an endpoint says of itself to people and monitors. Answers are always JSON.

A request needs no headers and no `_meta`: it is one of the newest revision, of a client without capabilities, unless
it says otherwise. Scripts have no session, and nothing is told them before their answer.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic_ns
from typing import Final

import msgspec

from core.call import Inbound
from core.errors import Reason, Refused, Unavailable
from core.mcp import classify, errors, headers, jsonrpc
from core.mcp.errors import INVALID_REQUEST, METHOD_NOT_FOUND, Rejected
from core.mcp.headers import Head
from core.mcp.jsonrpc import Message
from core.mcp.notifications import with_member
from core.mcp.revisions import MODERN
from data_plane.fronts import heads, page
from data_plane.fronts.address import Address
from data_plane.fronts.asgi import NO_STORE, NOSNIFF, Header, Receive, Scope, Send, answer
from data_plane.fronts.bodies import Bodies
from data_plane.fronts.refusing import Instead, Prove, unproven
from data_plane.fronts.reply import Response, reply
from data_plane.fronts.server import CONNECTION, Connection
from data_plane.fronts.talks import Talks

PAGES: Final = {"rpc/introspection": "introspection", "status": "status", "capabilities": "server/discover"}
"""What can be looked at, and what the pipeline calls it."""
_DROPPED: Final = "notifications/dropped"
"""What the pipeline knows a notification by, on which nobody acts: it is proven and recorded."""
_ACCEPTED: Final = Response(202, b"")
_WHO: Final = frozenset({Reason.UNAUTHENTICATED, Reason.NOT_FOUND, Reason.ORIGIN})
_WAYS: Final = {"streamable_http": "mcp", "sse": "sse", "websocket": "ws", "rpc": "rpc", "rpc_batch": "rpc/batch"}
_POST: Header = (b"allow", b"POST, OPTIONS")
_GET: Header = (b"allow", b"GET, HEAD, OPTIONS")


class Rpc:
    """Serves `.../rpc`, `.../rpc/batch`, and the pages of JSON. One per worker."""

    def __init__(self, talks: Talks, bodies: Bodies, prove: Prove) -> None:
        self._talks = talks
        self._prove = prove
        self._bodies = bodies
        self._running: dict[asyncio.Task[list[Response]], bool] = {}

    @property
    def in_flight(self) -> int:
        return len(self._running)

    def abandon(self) -> None:
        """The time to finish is over."""
        for task in list(self._running):
            self._running[task] = True
            task.cancel()

    async def one(self, scope: Scope, receive: Receive, send: Send, head: Head, place: Address) -> None:
        """One request, or a notification."""
        body = await self._posted(scope, receive, send, head, place)
        if body is None:
            return
        all_made = await self._run(scope, head, place, [body])
        if all_made is None:
            return
        (made,) = all_made
        cors = heads.cors(head.text(b"origin"), made.failure) if made.judged else heads.local_cors(scope)
        if not made.message:
            await answer(send, 202, (NOSNIFF, *cors))
            return
        await answer(send, made.status, (*_more(made), *cors), made.message)

    async def batch(self, scope: Scope, receive: Receive, send: Send, head: Head, place: Address) -> None:
        """Up to 100 messages at once; the answers come back in their order."""
        body = await self._posted(scope, receive, send, head, place)
        if body is None:
            return
        several = jsonrpc.batch(body)
        if several is None:
            raise Rejected(400, INVALID_REQUEST, "send an array of requests")
        made = await self._run(scope, head, place, several)
        if made is None:
            return
        answers = [one.message for one in made if one.message]
        # Where all of it failed for who asks, or from where, HTTP says so too.
        refused = next((one for one in made if one.failure is not None and one.failure.reason in _WHO), None)
        cors = heads.cors(head.text(b"origin"), refused.failure if refused is not None else None)
        if not any(one.judged for one in made):
            cors = heads.local_cors(scope)
        if not answers:
            await answer(send, 202, (NOSNIFF, *cors))
            return
        status, more = (refused.status, _more(refused)) if refused is not None else (200, heads.WHOLE)
        await answer(send, status, (*more, *cors), b"[" + b",".join(answers) + b"]")

    async def look(self, scope: Scope, _: Receive, send: Send, head: Head, place: Address) -> None:
        """A page of JSON."""
        if page.wanted(scope, head) and place.leaf == "rpc/introspection":
            await page.show(scope, send, head, place)
            return
        if scope["method"] not in ("GET", "HEAD"):
            raise Instead(405, (*heads.WHOLE, _GET), _not_here("GET this"))
        inbound = self._own(place, PAGES[place.leaf])
        inbound.received_ns = monotonic_ns()
        heads.tell(inbound, head, scope)
        made = await reply(self._talks.handle, inbound, errors.NULL, self._talks.server_info)
        cors = heads.cors(inbound.origin, made.failure)
        if not made.result:
            await answer(send, max(made.status, 400), (*_more(made), *cors), made.message)
            return
        text = _described(made.result, page.base_of(scope, head), place)
        await answer(send, 200, (*heads.WHOLE, NO_STORE, *cors), text)

    async def _posted(self, scope: Scope, receive: Receive, send: Send, head: Head, place: Address) -> bytes | None:
        """The body; None where there is nothing more to do."""
        if scope["method"] != "POST":
            if page.wanted(scope, head):
                await page.show(scope, send, head, place)
                return None
            raise Instead(405, (*heads.WHOLE, _POST), _not_here("POST to this"))
        if not headers.is_json(head.values.get(b"content-type", b"")):
            raise Rejected(400, INVALID_REQUEST, "Content-Type must be application/json")
        return await self._bodies.read(scope, receive, head)

    async def _run(self, scope: Scope, head: Head, place: Address, bodies: Sequence[bytes]) -> list[Response] | None:
        """All at once; None where the client went away meanwhile, which cancels them."""
        connection = scope.get(CONNECTION)
        task = asyncio.get_running_loop().create_task(self._all(scope, head, place, bodies))
        self._running[task] = False
        unwatch = connection.watch(task.cancel) if isinstance(connection, Connection) else None
        try:
            await asyncio.wait((task,))
        finally:
            task.cancel()
            abandoned = self._running.pop(task)
            if unwatch is not None:
                unwatch()
        if not task.cancelled():
            return task.result()
        if abandoned:
            raise Rejected(503, 503, "the gateway is shutting down; send the request again")
        return None

    async def _all(self, scope: Scope, head: Head, place: Address, bodies: Sequence[bytes]) -> list[Response]:
        if len(bodies) == 1:
            return [await self._one(scope, head, place, bodies[0])]
        return list(await asyncio.gather(*(self._one(scope, head, place, body) for body in bodies)))

    def _understood(self, message: Message, place: Address) -> Inbound:
        if message.method == "subscriptions/listen":
            where = "there are no streams here: listen over another transport"
            raise Rejected(404, METHOD_NOT_FOUND, where, id=message.id)
        arrival = classify.arrive_plain(message)
        return classify.understand(arrival, self._talks.next_id(), place.tenant, place.endpoint)

    def _own(self, place: Address, method: str) -> Inbound:
        """What is no request of the client's, as the pipeline takes it."""
        return Inbound(
            id=self._talks.next_id(),
            tenant=place.tenant,
            endpoint=place.endpoint,
            transport="rpc",
            era="modern",
            revision=MODERN[0],
            method=method,
            credential=b"",
            server=place.server,
        )

    async def _one(self, scope: Scope, head: Head, place: Address, body: bytes) -> Response:
        try:
            message = jsonrpc.parse(body)
            inbound = self._understood(message, place) if message.id else self._own(place, _DROPPED)
        except Rejected as rejection:
            asking = unproven(scope, place, head, self._talks.next_id())
            try:
                await self._prove(asking)
            except (Refused, Unavailable) as failure:
                error = errors.of_failure(failure, asking)
                return Response(error.status, errors.body(rejection.id, error), failure=failure)
            return Response(rejection.error.status, errors.body(rejection.id, rejection.error), judged=False)
        inbound.transport, inbound.server = "rpc", place.server
        heads.tell(inbound, head, scope)
        inbound.received_ns, inbound.size_bytes = monotonic_ns(), len(body)
        made = await reply(self._talks.handle, inbound, message.id or errors.NULL, self._talks.server_info)
        return made if message.id or made.status != 200 else _ACCEPTED


def _url(base: str, place: Address, leaf: str) -> str:
    return f"{'ws' + base.removeprefix('http') if leaf == 'ws' else base}{place.prefix}/{leaf}"


def _described(result: bytes, base: str, place: Address) -> bytes:
    """Without what is of the protocol's wire alone; of `capabilities`, with the ways in."""
    members = msgspec.json.decode(result, type=dict[str, msgspec.Raw])
    for name in ("resultType", "ttlMs", "cacheScope"):
        members.pop(name, None)
    if place.leaf != "capabilities":
        return msgspec.json.encode(members)
    ways = {name: _url(base, place, leaf) for name, leaf in _WAYS.items()}
    return with_member(msgspec.json.encode(members), b"transports", msgspec.json.encode(ways))


def _more(made: Response) -> tuple[Header, ...]:
    more = heads.of_reply(made.failure, made.retry_after_s if made.status >= 400 else None)
    return (*more, heads.etag(made.etag)) if made.etag else more


def _not_here(what: str) -> bytes:
    return errors.body(errors.NULL, Rejected(405, INVALID_REQUEST, f"{what} URL").error)
