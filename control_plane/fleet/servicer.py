"""`toolgate.v1.Fleet` over gRPC: who may connect, and bytes to and from sessions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import partial

import grpc

from control_plane.fleet.plane import FleetPlane
from control_plane.fleet.session import DEAD_AFTER_S, Session, StreamEnded, Wrap
from core.admin import Rejected, Why
from core.bound import Bound
from core.resource import NAME
from toolgate.v1 import fleet_pb2 as pb

Identify = Callable[[str], Awaitable[str]]
"""The name a node token was issued for. Raises Rejected(UNAUTHENTICATED)."""
StoreRecords = Callable[[str, list[bytes]], Awaitable[None]]
"""(node, encoded Records): returns once they are stored. Raises Rejected(UNAVAILABLE)."""

RECORDS_PER_BATCH = 10_000
STREAMS = 10_000
RECHECK_S = 60.0
"""A stream outlives the revocation of its node's token by so long at most."""
_STATUS = {
    Why.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Why.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


class FleetServicer:
    """Serves gateways. Register with `add_to`."""

    def __init__(
        self,
        plane: FleetPlane,
        *,
        identify: Identify,
        store_records: StoreRecords,
        wrap: Wrap,
        certified: Sequence[str] = (),
        recheck_s: float = RECHECK_S,
    ) -> None:
        """`certified`: globs over the common names whose client certificate alone makes a gateway of its holder."""
        self._hub = plane.hub
        self._roster = plane.roster
        self._loaded = plane.loaded
        self._identify = identify
        self._store_records = store_records
        self._wrap = wrap
        self._certified = certified
        self._recheck_s = recheck_s
        self._refused = self._shipping = self._ships_refused = 0

    def add_to(self, server: grpc.aio.Server) -> None:
        """Streams to nodes carry bytes already serialised, so that a chunk is serialised once for all of them."""
        handlers = {
            "Connect": grpc.stream_stream_rpc_method_handler(
                self.connect, request_deserializer=pb.NodeMessage.FromString, response_serializer=None
            ),
            "Ship": grpc.stream_stream_rpc_method_handler(
                self._ship_in_turn,
                request_deserializer=pb.RecordBatch.FromString,
                response_serializer=pb.RecordAck.SerializeToString,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("toolgate.v1.Fleet", handlers),))

    def bounds(self) -> dict[str, Bound]:
        return {
            "fleet_streams": Bound(self._hub.connected, STREAMS, self._refused),
            "record_streams": Bound(self._shipping, STREAMS, self._ships_refused),
        }

    async def _ship_in_turn(
        self,
        batches: AsyncIterator[pb.RecordBatch],
        context: grpc.aio.ServicerContext[pb.RecordBatch, pb.RecordAck],
    ) -> None:
        """`ship`, for so many at once. The records of those turned away wait in their spools."""
        if self._shipping >= STREAMS:
            self._ships_refused += 1
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{STREAMS} gateways send records already")
        self._shipping += 1
        try:
            await self.ship(batches, context)
        finally:
            self._shipping -= 1

    async def connect(
        self, messages: AsyncIterator[pb.NodeMessage], context: grpc.aio.ServicerContext[pb.NodeMessage, bytes]
    ) -> None:
        """One node's stream, until it ends."""
        await self._admitted(context)
        hello = await self._hello(messages, context)
        await self._loaded.wait()

        async def write(message: bytes) -> None:
            try:
                await context.write(message)
            except (grpc.aio.BaseError, grpc.aio.AioRpcError, asyncio.InvalidStateError) as over:
                raise StreamEnded from over

        session = Session(hello, node=hello.node, hub=self._hub, roster=self._roster, wrap=self._wrap)
        farewell = await session.run(messages, write, partial(self._until_revoked, context))
        if farewell:
            await context.abort(grpc.StatusCode.ABORTED, farewell)

    async def ship(
        self,
        batches: AsyncIterator[pb.RecordBatch],
        context: grpc.aio.ServicerContext[pb.RecordBatch, pb.RecordAck],
    ) -> None:
        """Records, acknowledged batch by batch once they are stored."""
        loop = asyncio.get_running_loop()
        node, admitted_at = await self._admitted(context), loop.time()
        async for batch in batches:
            if loop.time() - admitted_at >= self._recheck_s:
                node, admitted_at = await self._admitted(context), loop.time()
            if len(batch.records) > RECORDS_PER_BATCH:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"at most {RECORDS_PER_BATCH} records a batch")
            try:
                await self._store_records(node, list(batch.records))
            except Rejected as refusal:
                await _abort(context, refusal)
            await context.write(pb.RecordAck(batch=batch.batch))

    async def _admitted(self, context: grpc.aio.ServicerContext[object, object]) -> str:
        """The name of the node, proven by its token or else by its certificate. Ends the call of anyone else."""
        token = _bearer(context.invocation_metadata() or ())
        try:
            if token:
                return await self._identify(token)
        except Rejected as refusal:
            await _abort(context, refusal)
        for raw in context.auth_context().get("x509_common_name", ()):
            name = raw.decode("utf-8", "replace")
            if any(fnmatchcase(name, glob) for glob in self._certified):
                return name
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a node token or a gateway's certificate is required")
        raise AssertionError("abort always raises")

    async def _until_revoked(self, context: grpc.aio.ServicerContext[object, object]) -> None:
        """Returns when the node's token does not count any more. While the database is away nobody is revoked."""
        token = _bearer(context.invocation_metadata() or ())
        while True:
            await asyncio.sleep(self._recheck_s)
            try:
                if token:
                    await self._identify(token)
            except Rejected as refusal:
                if refusal.why is Why.UNAUTHENTICATED:
                    return

    async def _hello(
        self, messages: AsyncIterator[pb.NodeMessage], context: grpc.aio.ServicerContext[pb.NodeMessage, bytes]
    ) -> pb.Hello:
        try:
            async with asyncio.timeout(DEAD_AFTER_S):
                first = await anext(messages)
        except (TimeoutError, StopAsyncIteration):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first message must be hello")
            raise
        problem = _hello_problem(first, self._hub.connected)
        self._refused += self._hub.connected >= STREAMS
        if problem:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        return first.hello


def _hello_problem(first: pb.NodeMessage, connected: int) -> str:
    if first.WhichOneof("body") != "hello":
        return "the first message must be hello"
    if not NAME.fullmatch(first.hello.node.lower().replace(".", "-").replace("_", "-")):
        return "hello.node must be a host name of at most 63 characters"
    if len(first.hello.public_key) != 32:
        return "hello.public_key must be 32 bytes"
    if len(first.hello.version) > 128 or not first.hello.version.isprintable():
        return "hello.version must be at most 128 printable characters"
    if not all(NAME.fullmatch(held.tenant) for held in first.hello.holdings):
        return "hello.holdings must name tenants"
    if connected >= STREAMS:
        return f"this replica serves {STREAMS} gateways already"
    return ""


async def _abort(context: grpc.aio.ServicerContext[object, object], refusal: Rejected) -> None:
    await context.abort(_STATUS.get(refusal.why, grpc.StatusCode.PERMISSION_DENIED), refusal.public)


def _bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    for name, value in metadata:
        if name == "authorization" and isinstance(value, str) and value.lower().startswith("bearer "):
            return value[7:].strip()
    return ""
