"""The methods of `toolgate.v1.Agent`: each is one request to the pipeline, and its answer."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from time import monotonic_ns
from typing import Literal, NoReturn, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from core.bound import Bound
from core.call import Inbound, Notification, Result
from core.errors import Reason, Refused, Unavailable
from core.mcp import grpc_status, results, translate
from core.mcp.errors import Rejected
from core.mcp.grpc_status import GrpcError
from data_plane.fronts.grpc_agent import answers, requests
from data_plane.fronts.grpc_agent.feed import MAX_BYTES, Feed
from data_plane.fronts.grpc_agent.requests import Envelope
from data_plane.streams import Streams
from toolgate.v1 import agent_pb2 as pb
from toolgate.v1 import agent_pb2_grpc as stubs

Handle = Callable[[Inbound], Awaitable[Result]]
Context: TypeAlias = grpc.aio.ServicerContext
Cause = Literal["slow", "shutdown"]
Prove = Callable[[Inbound], Awaitable[object]]
"""`data_plane.fronts.refusing.Prove`."""
_Response = TypeVar("_Response")

_DEADLINE_MARGIN_S = 0.02
"""So much before the caller's deadline a server's time is up: the caller hears which server was late, and is not cut
off without a word."""

_log = logging.getLogger("toolgate.front")


class Running:
    """A request in the pipeline, or an open stream: what this front may have to end by itself."""

    __slots__ = ("cause", "feed", "task")

    def __init__(self) -> None:
        self.task = asyncio.current_task()
        self.feed: Feed[pb.CallStreamResponse] | None = None
        self.cause: Cause | None = None

    def cancel(self, cause: Cause) -> None:
        if self.cause is None and self.task is not None:
            self.cause = cause
            self.task.cancel()


class AgentService(stubs.AgentServicer):
    """One per worker."""

    def __init__(
        self, handle: Handle, prove: Prove, streams: Streams, *, version: str, certified: bool = False
    ) -> None:
        """`certified`: clients show certificates."""
        self._handle = handle
        self._certified = certified
        self._prove = prove
        self._streams = streams
        self._version = version
        self._server_info = results.server_info(version)
        self._running: set[Running] = set()
        self._listening: set[Feed[pb.ListenResponse]] = set()
        self._prefix = os.urandom(8).hex()
        self._serial = 0
        self._too_slow = 0

    @property
    def in_flight(self) -> int:
        """Calls in the pipeline now."""
        return len(self._running)

    def bounds(self) -> dict[str, Bound]:
        """Of the stream whose client leaves most unread."""
        calls = [running.feed.queued_bytes for running in self._running if running.feed is not None]
        most = max([*calls, *(feed.queued_bytes for feed in self._listening)], default=0)
        return {"grpc_stream_bytes": Bound(most, MAX_BYTES, self._too_slow)}

    def end_listening(self) -> None:
        """Every Listen ends as one that is over: its client listens again, elsewhere."""
        for feed in list(self._listening):
            feed.close()

    def abandon(self) -> None:
        """Cancels everything in flight; each caller is told that the gateway is going down."""
        for running in list(self._running):
            running.cancel("shutdown")

    # === the methods; their names are the protocol's ===

    async def Call(self, request: pb.CallRequest, context: Context) -> pb.CallResponse:  # noqa: N802
        return await self._unary(request, context, lambda about: requests.call(request, about, streams=False), _called)

    async def GetPrompt(self, request: pb.GetPromptRequest, context: Context) -> pb.GetPromptResponse:  # noqa: N802
        def made(value: bytes, result: Result) -> pb.GetPromptResponse:
            return pb.GetPromptResponse(answer=answers.answer(value, is_error=result.is_error))

        return await self._unary(request, context, lambda about: requests.prompt(request, about), made)

    async def ReadResource(  # noqa: N802
        self, request: pb.ReadResourceRequest, context: Context
    ) -> pb.ReadResourceResponse:
        def made(value: bytes, result: Result) -> pb.ReadResourceResponse:
            return pb.ReadResourceResponse(answer=answers.answer(value, is_error=result.is_error))

        return await self._unary(request, context, lambda about: requests.resource(request, about), made)

    async def List(self, request: pb.ListEntriesRequest, context: Context) -> pb.ListEntriesResponse:  # noqa: N802
        def made(value: bytes, result: Result) -> pb.ListEntriesResponse:
            return answers.entries(value, result.etag)

        return await self._unary(request, context, lambda about: requests.entries(request, about), made)

    async def Discover(self, request: pb.DiscoverRequest, context: Context) -> pb.DiscoverResponse:  # noqa: N802
        def made(value: bytes, _: Result) -> pb.DiscoverResponse:
            return answers.discovered(value, self._version)

        return await self._unary(request, context, lambda about: requests.discover(request, about), made)

    async def Complete(self, request: pb.CompleteRequest, context: Context) -> pb.CompleteResponse:  # noqa: N802
        def made(value: bytes, _: Result) -> pb.CompleteResponse:
            return answers.completed(value)

        return await self._unary(request, context, lambda about: requests.completion(request, about), made)

    async def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.GetTaskResponse:  # noqa: N802
        def made(value: bytes, _: Result) -> pb.GetTaskResponse:
            return pb.GetTaskResponse(task=value)

        return await self._unary(request, context, lambda about: requests.task("tasks/get", request, about), made)

    async def UpdateTask(self, request: pb.UpdateTaskRequest, context: Context) -> pb.UpdateTaskResponse:  # noqa: N802
        def made(_value: bytes, _: Result) -> pb.UpdateTaskResponse:
            return pb.UpdateTaskResponse()

        return await self._unary(request, context, lambda about: requests.task("tasks/update", request, about), made)

    async def CancelTask(self, request: pb.CancelTaskRequest, context: Context) -> pb.CancelTaskResponse:  # noqa: N802
        def made(_value: bytes, _: Result) -> pb.CancelTaskResponse:
            return pb.CancelTaskResponse()

        return await self._unary(request, context, lambda about: requests.task("tasks/cancel", request, about), made)

    async def CallStream(self, request: pb.CallRequest, context: Context) -> None:  # noqa: N802
        inbound = await self._understood(request, context, lambda about: requests.call(request, about, streams=True))
        running = Running()
        feed: Feed[pb.CallStreamResponse] = Feed(lambda: running.cancel("slow"))
        running.feed = feed
        answered: list[pb.CallResponse | GrpcError] = []

        def tell(notification: Notification) -> None:
            message = answers.event(notification, inbound)
            if message is not None:
                feed.put(message)

        async def answer() -> None:
            try:
                answered.append(await self._answered(inbound, running, _called))
            finally:
                feed.close()

        inbound.notify = tell
        self._running.add(running)
        try:
            async with asyncio.TaskGroup() as group:
                running.task = group.create_task(answer())
                await feed.drain(context.write)
        finally:
            self._running.discard(running)
        (last,) = answered
        if isinstance(last, GrpcError):
            await _abort(context, last)
        else:
            await context.write(pb.CallStreamResponse(answer=last.answer))

    async def Listen(self, request: pb.ListenRequest, context: Context) -> None:  # noqa: N802
        inbound = await self._understood(request, context, lambda about: requests.listen(request, about))
        feed: Feed[pb.ListenResponse] = Feed(self._note_slow)

        def tell(notification: Notification) -> None:
            message = answers.news(notification)
            if message is not None:
                feed.put(message)

        opened = await self._answered(inbound, Running(), lambda _, result: result)
        if isinstance(opened, GrpcError) or opened.opening is None:
            await _abort(context, opened if isinstance(opened, GrpcError) else grpc_status.internal(inbound))
        try:
            stream = self._streams.open(inbound, opened.opening, tell, feed.close)
        except Unavailable as full:
            await _abort(context, grpc_status.of_failure(full, inbound))
        self._listening.add(feed)
        try:
            await stream.settled()
            await context.write(answers.began(opened.result))
            await feed.drain(context.write)
        finally:
            self._listening.discard(feed)
            stream.close()
        if feed.full:
            # What it missed is unknown: it has to list again, as after any other end.
            await _abort(context, grpc_status.of_failure(_too_slow(), inbound))

    # === what they have in common ===

    async def _unary(
        self,
        request: Message,
        context: Context,
        make: Callable[[Envelope], Inbound],
        made: Callable[[bytes, Result], _Response],
    ) -> _Response:
        inbound = await self._understood(request, context, make)
        running = Running()
        self._running.add(running)
        try:
            answer = await self._answered(inbound, running, made)
        finally:
            self._running.discard(running)
        if isinstance(answer, GrpcError):
            await _abort(context, answer)
        return answer

    async def _understood(self, request: Message, context: Context, make: Callable[[Envelope], Inbound]) -> Inbound:
        self._serial += 1
        left_s = context.time_remaining()
        try:
            about = requests.envelope(
                f"{self._prefix}-{self._serial:x}",
                context.invocation_metadata() or (),
                context.peer(),
                None if left_s is None else max(left_s - _DEADLINE_MARGIN_S, 0.001),
                monotonic_ns(),
                request.ByteSize(),
                requests.certificate_of(context.auth_context()) if self._certified else None,
            )
        except Rejected as rejected:
            await _abort(context, grpc_status.of_rejected(rejected))
        try:
            return make(about)
        except Rejected as rejected:
            failure = grpc_status.of_rejected(rejected)
        asking = requests.unproven(request, about)
        try:
            await self._prove(asking)
        except (Refused, Unavailable) as unknown:
            failure = grpc_status.of_failure(unknown, asking)
        return await _abort(context, failure)

    async def _answered(
        self, inbound: Inbound, running: Running, made: Callable[[bytes, Result], _Response]
    ) -> _Response | GrpcError:
        """What the pipeline made of it. The one place where a bug is caught."""
        try:
            result = await self._handle(inbound)
            if result.error:
                return grpc_status.relay(result.error, inbound, result.era)
            value = result.result
            if result.opening is None:
                value = translate.result(
                    value,
                    method=inbound.method,
                    upstream=result.era,
                    revision=result.revision or inbound.revision,
                    server_info=self._server_info,
                )
            return made(value, result)
        except (Refused, Unavailable) as failure:
            return grpc_status.of_failure(failure, inbound)
        except asyncio.CancelledError:
            return self._cut_short(inbound, running)
        except Exception:  # noqa: BLE001 - the edge: a bug is logged with its id, and the caller told no more
            _log.exception("internal error %s", inbound.id)
            return grpc_status.internal(inbound)

    def _cut_short(self, inbound: Inbound, running: Running) -> GrpcError:
        """A cancellation that this front asked for ends here; any other goes on to whoever asked."""
        if running.cause is None or running.task is None:
            raise asyncio.CancelledError
        running.task.uncancel()
        if running.cause == "slow":
            self._note_slow()
            return grpc_status.of_failure(_too_slow(), inbound)
        leaving = "the gateway is shutting down; send the request again"
        return grpc_status.of_failure(Unavailable(Reason.OVERLOADED, leaving, retry_after_s=1), inbound)

    def _note_slow(self) -> None:
        self._too_slow += 1


def _too_slow() -> Unavailable:
    return Unavailable(Reason.OVERLOADED, "the client leaves too much of the stream unread")


def _called(value: bytes, result: Result) -> pb.CallResponse:
    return pb.CallResponse(answer=answers.answer(value, is_error=result.is_error))


async def _abort(context: Context, failure: GrpcError) -> NoReturn:
    await context.abort(_STATUS[failure.status], answers.text(failure), answers.trailing(failure))
    raise AssertionError("abort always raises")


_STATUS = {status.value[0]: status for status in grpc.StatusCode}
