"""The suite's fixture where the suite does not look: over other transports, and `notifications/tasks`."""

import asyncio
import json
from typing import Any

import pytest

from tests.conformance.offered import OFFERED
from tests.conformance.topology import missing
from tests.conformance.websocket import WebSocket
from tests.harness.agent import META, Agent
from tests.harness.upstream_everything import make
from tests.harness.upstream_matrix import serving

TASKS = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
DECLARED = {**META, "io.modelcontextprotocol/clientCapabilities": TASKS}


async def test_everything_is_there_that_the_suite_asks_for() -> None:
    async with serving("both", "http", server=make()) as fixture:
        port = int(fixture.url.split(":")[2].split("/")[0])
        assert await missing(Agent(port, "none")) == []
        del fixture.fixture.tools["greet"]
        assert await missing(Agent(port, "none")) == ["tools: greet"]
    assert sum(map(len, OFFERED.values())) == 43


class Conversation:
    """Modern requests over one WebSocket, and what comes unasked."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._id = 0
        self.heard: list[dict[str, Any]] = []

    async def send(self, method: str, **params: object) -> int:

        self._id += 1
        request = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": {**params, "_meta": DECLARED}}
        await self._socket.send(json.dumps(request))
        return self._id

    async def result(self, method: str, **params: object) -> dict[str, Any]:
        return await self.until(await self.send(method, **params))

    async def until(self, wanted: int | str) -> dict[str, Any]:
        """The answer to a request, or the next notification of a method; others are kept in `heard`."""

        async with asyncio.timeout(5):
            while (frame := await self._socket.receive()) is not None:
                message = json.loads(frame)
                if message.get("id") == wanted and "method" not in message:
                    return message.get("result") or message["error"]
                if message.get("method") == wanted:
                    return message["params"]
                self.heard.append(message)
        raise AssertionError("the server closed the connection")


@pytest.fixture
async def conversation() -> Any:
    async with serving("modern", "websocket", server=make()) as fixture:
        socket = await WebSocket.connect(fixture.url, subprotocols=("mcp",))
        assert socket.subprotocol == "mcp"
        yield Conversation(socket)
        await socket.close()


async def test_a_task_asks_is_answered_and_completes(conversation: Conversation) -> None:
    task = await conversation.result("tools/call", name="multi_input", arguments={})
    assert task["resultType"] == "task"
    await conversation.send("subscriptions/listen", notifications={"taskIds": [task["taskId"]]})
    granted = await conversation.until("notifications/subscriptions/acknowledged")
    assert granted["notifications"] == {"taskIds": [task["taskId"]]}
    asked = await conversation.result("tasks/get", taskId=task["taskId"])
    assert set(asked["inputRequests"]) == {"who", "sure"}
    answers = {"who": {"action": "accept", "content": {"name": "Ada"}}, "sure": {"action": "accept", "content": {}}}
    await conversation.result("tasks/update", taskId=task["taskId"], inputResponses=answers)
    states = [message["params"]["status"] for message in conversation.heard if "params" in message]
    while "completed" not in states:
        states.append((await conversation.until("notifications/tasks"))["status"])
    done = await conversation.result("tasks/get", taskId=task["taskId"])
    assert done["result"]["content"][0]["text"] == "2 answers"


async def test_a_cancelled_task_stays_cancelled(conversation: Conversation) -> None:
    task = await conversation.result("tools/call", name="slow_compute", arguments={"seconds": 60})
    assert await conversation.result("tasks/cancel", taskId=task["taskId"]) | {"_meta": 0} == {
        "resultType": "complete",
        "_meta": 0,
    }
    shown = await conversation.result("tasks/get", taskId=task["taskId"])
    assert shown["status"] == "cancelled"
    assert (await conversation.result("tasks/get", taskId="nobody's"))["code"] == -32602
