"""gRPC as a transport: what a client of 2026-07-28 says, as calls of `toolgate.v1.Agent`, and what it hears of them."""

import asyncio
import json
from typing import Any

import grpc

from tests.harness.grpc_agent import GrpcAgent, details
from tests.matrix.front import Json
from tests.matrix.pipes import Base
from toolgate.v1 import agent_pb2 as pb

META = "io.modelcontextprotocol"


class Grpc(Base):
    """A call that wants to hear of progress is a stream, any other is not. Who ends a call cancels it."""

    def __init__(self, port: int, key: str, **scope: str) -> None:
        super().__init__()
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._key = key
        self._scope = scope

    async def open(self) -> None:
        pass

    async def send(self, message: Json | list[Json], headers: dict[str, str]) -> None:
        assert isinstance(message, dict)
        self._tasks[message["id"]] = asyncio.ensure_future(self._exchange(message))

    async def abandon(self, request_id: object) -> bool:
        self._tasks.pop(request_id).cancel()
        return True

    async def close(self) -> None:
        await self._stop()
        await self._channel.close()

    async def _exchange(self, message: Json) -> None:
        number, params = message["id"], message["params"]
        capabilities = json.dumps(params["_meta"][f"{META}/clientCapabilities"]).encode()
        agent = GrpcAgent(self._channel, self._key, capabilities=capabilities, **self._scope)
        try:
            if message["method"] == "subscriptions/listen":
                await self._listen(agent, number, params["notifications"])
                self.lose(number, "the stream ended")
                return
            asked = self._call if message["method"] == "tools/call" else self._list
            self.deliver({"id": number, "result": await asked(agent, params)})
        except grpc.aio.AioRpcError as failed:
            self._failed(number, failed)

    def _failed(self, number: object, failed: grpc.aio.AioRpcError) -> None:
        if "grpc-status-details-bin" not in dict(failed.trailing_metadata() or ()):
            self.lose(number, f"{failed.code().name}: {failed.details()}")
            return
        _, error, _ = details(failed)
        data = {"data": json.loads(error.data)} if error.data else {}
        self.deliver({"id": number, "error": {"code": error.code, "message": error.message, **data}})

    async def _call(self, agent: GrpcAgent, params: Json) -> Json:
        request = agent.request(params["name"], params["arguments"], again(params))
        if "progressToken" not in params["_meta"]:
            return result((await agent.stub.Call(request, metadata=agent.metadata)).answer)
        async for event in agent.stub.CallStream(request, metadata=agent.metadata):
            if event.WhichOneof("event") == "answer":
                answer = event.answer
            elif event.WhichOneof("event") == "progress":
                self._tell("progress", progressToken=params["_meta"]["progressToken"], progress=event.progress.progress)
        return result(answer)

    async def _list(self, agent: GrpcAgent, params: Json) -> Json:
        page = await agent.entries(pb.ListEntriesRequest.TOOLS, params.get("cursor", ""))
        more = {"nextCursor": page.next_page_token} if page.next_page_token else {}
        return {"tools": [json.loads(entry.definition) for entry in page.entries], **more}

    async def _listen(self, agent: GrpcAgent, number: object, wanted: Json) -> None:
        request = pb.ListenRequest(scope=agent.scope, tools=wanted["toolsListChanged"])
        async for event in agent.stub.Listen(request, metadata=agent.metadata):
            if event.WhichOneof("event") == "began":
                self._tell("subscriptions/acknowledged", notifications={"toolsListChanged": event.began.tools})
            elif event.list_changed == pb.ListEntriesRequest.TOOLS:
                self._tell("tools/list_changed", _meta={f"{META}/subscriptionId": number})

    def _tell(self, what: str, **params: Any) -> None:
        self.deliver({"method": f"notifications/{what}", "params": params})


def again(params: Json) -> pb.Round | None:
    """The answers to what was asked the round before, if anything was."""
    if "inputResponses" not in params:
        return None
    return pb.Round(
        request_state=params.get("requestState"), input_responses=json.dumps(params["inputResponses"]).encode()
    )


def result(answer: pb.Answer) -> Json:
    """As JSON-RPC has it."""
    if answer.kind != pb.Answer.INPUT_REQUIRED:
        return dict(json.loads(answer.result))
    asked = {key: {"method": one.method, "params": json.loads(one.params)} for key, one in answer.questions.items()}
    state = {"requestState": answer.request_state} if answer.HasField("request_state") else {}
    return {"resultType": "input_required", "inputRequests": asked, **state}
