"""A gRPC agent: `toolgate.v1.Agent` as a client uses it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from toolgate.v1 import agent_pb2 as pb
from toolgate.v1 import agent_pb2_grpc as stubs

ANSWER_S = 20.0
Json = dict[str, Any]


class GrpcAgent:
    """One channel, one key. `stub` for what has no shorthand here."""

    def __init__(self, channel: grpc.aio.Channel, key: str, **scope: Any) -> None:
        self.stub = stubs.AgentStub(channel)
        self.metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self.scope = pb.Scope(**scope)

    def request(self, tool: str, arguments: Mapping[str, object], before: pb.Round | None = None) -> pb.CallRequest:
        return pb.CallRequest(scope=self.scope, tool=tool, arguments=json.dumps(arguments).encode(), round=before)

    async def call(self, tool: str, before: pb.Round | None = None, **arguments: object) -> pb.Answer:
        request = self.request(tool, arguments, before)
        return (await self.stub.Call(request, metadata=self.metadata, timeout=ANSWER_S)).answer

    async def stream(self, tool: str, before: pb.Round | None = None, **arguments: object) -> list[Any]:
        """Everything a stream says: progress, log messages and at last the answer."""
        call = self.stub.CallStream(self.request(tool, arguments, before), metadata=self.metadata, timeout=ANSWER_S)
        return [getattr(event, event.WhichOneof("event")) async for event in call]

    async def entries(self, kind: "pb.ListEntriesRequest.Kind", page_token: str = "") -> pb.ListEntriesResponse:
        request = pb.ListEntriesRequest(scope=self.scope, kind=kind, page_token=page_token)
        return await self.stub.List(request, metadata=self.metadata, timeout=ANSWER_S)

    async def tools(self) -> list[str]:
        names: list[str] = []
        token = ""
        while True:
            page = await self.entries(pb.ListEntriesRequest.TOOLS, token)
            names += [entry.name for entry in page.entries]
            token = page.next_page_token
            if not token:
                return names

    async def put(self, method: str, request: Message) -> Any:
        """Any unary method, with this agent's scope."""
        request.scope.CopyFrom(self.scope)
        return await getattr(self.stub, method)(request, metadata=self.metadata, timeout=ANSWER_S)


@asynccontextmanager
async def grpc_agent(port: int, key: str, **scope: Any) -> AsyncIterator[GrpcAgent]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield GrpcAgent(channel, key, **scope)


def text(answer: pb.Answer) -> str:
    """The first text of a tool's result."""
    return str(json.loads(answer.result)["content"][0]["text"])


def details(failure: grpc.aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, pb.McpError, float | None]:
    """What a status says beside its code: reason, JSON-RPC error, and when to try again."""
    raw = dict(failure.trailing_metadata() or ())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(raw)
    assert (status.code, status.message) == (failure.code().value[0], failure.details())
    info, error = _unpacked(status.details[0], error_details_pb2.ErrorInfo), _unpacked(status.details[1], pb.McpError)
    retry = [_unpacked(packed, error_details_pb2.RetryInfo) for packed in status.details[2:]]
    delay = retry[0].retry_delay if retry else None
    return info, error, None if delay is None else delay.seconds + delay.nanos / 1e9


def _unpacked(packed: any_pb2.Any, kind: Any) -> Any:
    found = kind()
    assert packed.Unpack(found)
    return found
