"""The tasks extension, which the SDK has not: tools that go on after their call was answered."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import decode_header_value
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY, event_matches, event_to_notification
from mcp.types import RequestParams, SubscriptionsListenRequestParams
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

from tests.harness.upstream_matrix_server import (
    INVALID_PARAMS,
    MISSING_CAPABILITY,
    Call,
    Json,
    Serving,
    covers,
    form,
    needs,
    text,
)

EXTENSION = "io.modelcontextprotocol/tasks"
METHOD_NOT_FOUND = -32601
HEADER_MISMATCH = -32020
ENDED = {"completed", "failed", "cancelled"}
KEPT = 1000
"""Tasks remembered, the oldest dropped first."""

Job = Callable[["Task"], Awaitable[Json]]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TaskParams(RequestParams):
    """Of all three methods. Camel case on the wire, as the SDK's own."""

    task_id: str
    input_responses: Json | None = None


class Notice(BaseModel):
    """A notification whose params the SDK knows nothing of."""

    method: str
    params: Json


@dataclass
class Task:
    """One run of a job. What it asks is answered by `tasks/update`."""

    changed: Callable[["Task"], None]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: str = "working"
    created: str = field(default_factory=now)
    updated: str = field(default_factory=now)
    result: Json | None = None
    error: Json | None = None
    asked: Json = field(default_factory=dict)
    answers: Json = field(default_factory=dict)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Future[None] | None = None

    def shown(self) -> Json:
        """As a `CreateTaskResult` has it."""
        fields = {"taskId": self.id, "status": self.status, "createdAt": self.created, "lastUpdatedAt": self.updated}
        return {**fields, "ttlMs": 600_000, "pollIntervalMs": 100}

    def detailed(self) -> Json:
        """As `tasks/get` and `notifications/tasks` have it."""
        shown = self.shown()
        if self.status == "input_required":
            shown["inputRequests"] = self.asked
        if self.result is not None:
            shown["result"] = self.result
        if self.error is not None:
            shown["error"] = self.error
        return shown

    async def ask(self, **questions: Json) -> Json:
        """Waits for an answer to each."""
        self.asked = dict(questions)
        self.to("input_required")
        while self.asked:
            self.answered.clear()
            await self.answered.wait()
        self.to("working")
        return {key: self.answers[key] for key in questions}

    def answer(self, responses: Json) -> None:
        """Keys that were not asked are ignored."""
        for key in [key for key in responses if key in self.asked]:
            self.answers[key] = responses[key]
            del self.asked[key]
            self.to(self.status)
        self.answered.set()

    def to(self, status: str) -> None:
        if self.status not in ENDED:
            self.status, self.updated = status, now()
            self.changed(self)

    def cancel(self) -> None:
        self.to("cancelled")
        if self.running is not None:
            self.running.cancel()

    async def run(self, job: Job) -> None:
        try:
            self.result = {"resultType": "complete", **await job(self)}
            self.to("completed")
        except MCPError as failed:
            self.error = {"code": failed.code, "message": failed.message}
            self.to("failed")


class Tasks:
    """All tasks of a server, its three methods, and who listens for which."""

    def __init__(self, serving: Serving) -> None:
        self._tasks: dict[str, Task] = {}
        self._watching: dict[object, tuple[frozenset[str], Callable[[Task], None]]] = {}
        self._serving = serving
        serving.extensions[EXTENSION] = {}
        for method, handler in {
            "tasks/get": self._get,
            "tasks/update": self._update,
            "tasks/cancel": self._cancel,
        }.items():
            serving.add_request_handler(method, TaskParams, handler)  # type: ignore[arg-type]
        serving.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, self._listen)

    def declared(self, call: Call) -> bool:
        """Whether this request's client takes a task for an answer."""
        return call.modern and EXTENSION in (call.capabilities.get("extensions") or {})

    def require(self, call: Call) -> None:
        """Raises -32021 where it does not."""
        if not self.declared(call):
            needed = {"extensions": {EXTENSION: {}}}
            raise MCPError(MISSING_CAPABILITY, "this tool runs as a task only", {"requiredCapabilities": needed})

    def start(self, job: Job) -> Json:
        """The `CreateTaskResult`; from here on `tasks/get` knows the task."""
        task = Task(self._tell)
        self._tasks[task.id] = task
        while len(self._tasks) > KEPT:
            self._tasks.pop(next(iter(self._tasks))).cancel()
        task.running = asyncio.ensure_future(task.run(job))
        return {"resultType": "task", **task.shown()}

    def _tell(self, task: Task) -> None:
        for ids, tell in list(self._watching.values()):
            if task.id in ids:
                tell(task)

    def _of(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Task:
        call = Call(self._serving.fixture, ctx, {})
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(METHOD_NOT_FOUND, "Method not found", ctx.method)
        self._check_header(ctx, params.task_id)
        self.require(call)
        task = self._tasks.get(params.task_id)
        if task is None:
            raise MCPError(INVALID_PARAMS, "Unknown task")
        return task

    def _check_header(self, ctx: ServerRequestContext[Any, Any], task_id: str) -> None:
        """Over HTTP, `Mcp-Name` repeats the task's id."""
        if ctx.request is not None and decode_header_value(ctx.request.headers.get("mcp-name")) != task_id:
            raise MCPError(HEADER_MISMATCH, "Mcp-Name does not match params.taskId")

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Json:
        return {"resultType": "complete", **self._of(ctx, params).detailed()}

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Json:
        if params.input_responses is None:
            raise MCPError(INVALID_PARAMS, "inputResponses must be an object")
        self._of(ctx, params).answer(params.input_responses)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Json:
        self._of(ctx, params).cancel()
        return {"resultType": "complete"}

    async def _listen(self, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams) -> Json:
        """The SDK's own would not know `taskIds`."""
        wanted = params.notifications
        uris = frozenset(wanted.resource_subscriptions or ())
        ids = frozenset(((ctx.params or {}).get("notifications") or {}).get("taskIds") or ())
        meta = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        queue: asyncio.Queue[Any] = asyncio.Queue(1000)

        def hear(event: Any) -> None:
            if event_matches(wanted, uris, event):
                queue.put_nowait(event_to_notification(event, meta))

        def heed(task: Task) -> None:
            queue.put_nowait(Notice(method="notifications/tasks", params={**task.detailed(), "_meta": meta}))

        granted = wanted.model_dump(by_alias=True, exclude_none=True) | ({"taskIds": sorted(ids)} if ids else {})
        queue.put_nowait(
            Notice(method="notifications/subscriptions/acknowledged", params={"notifications": granted, "_meta": meta})
        )
        with self._heard(hear, ids, heed):
            while True:
                await ctx.session.send_notification(await queue.get(), ctx.request_id)

    @contextlib.contextmanager
    def _heard(self, hear: Callable[[Any], None], ids: frozenset[str], heed: Callable[[Task], None]) -> Iterable[None]:
        stop, key = self._serving.fixture.bus.subscribe(hear), object()
        self._watching[key] = (ids, heed)
        try:
            yield
        finally:
            stop()
            del self._watching[key]


def add(tasks: Tasks) -> None:
    """The suite's tools."""
    fixture = tasks._serving.fixture
    name = {"type": "object", "properties": {"name": {"type": "string"}}}
    agree = form("Are you sure?", {"confirm": {"type": "boolean"}}, ["confirm"])

    @fixture.tool("Greets, at once.", name)
    async def greet(call: Call) -> Json:
        return text(f"Hello, {call.arguments.get('name', 'you')}!")

    @fixture.tool(
        "Takes as many seconds as asked for.",
        {"type": "object", "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}}},
    )
    async def slow_compute(call: Call) -> Json:
        seconds = min(float(call.arguments.get("seconds", 1)), 600)

        async def compute(_: Task | None) -> Json:
            await asyncio.sleep(seconds)
            return text(f"computed for {seconds:g} seconds")

        return tasks.start(compute) if tasks.declared(call) else await compute(None)

    @fixture.tool("Runs as a task only, and fails as a tool does.")
    async def failing_job(call: Call) -> Json:
        tasks.require(call)

        async def fail(_: Task) -> Json:
            await asyncio.sleep(0.5)
            return text("this job fails on purpose", isError=True)

        return tasks.start(fail)

    @fixture.tool("Runs as a task and fails as a protocol does.")
    async def protocol_error_job(call: Call) -> Json:
        async def fail(_: Task | None) -> Json:
            await asyncio.sleep(0.1)
            raise MCPError(-32603, "this job breaks on purpose")

        return tasks.start(fail) if tasks.declared(call) else await fail(None)

    @fixture.tool(
        "Deletes nothing, once it is told to.", {"type": "object", "properties": {"filename": {"type": "string"}}}
    )
    async def confirm_delete(call: Call) -> Json:
        async def delete(asking: Call | Task) -> Json:
            answered = await asking.ask(confirm=agree)
            sure = (answered["confirm"].get("content") or {}).get("confirm") is True
            return text(f"{call.arguments.get('filename')}: {'deleted' if sure else 'kept'}")

        if tasks.declared(call):
            return tasks.start(delete)
        # The suite calls the first tool of a list, whichever it is, without any capability.
        return await delete(call) if covers(call.capabilities, needs(agree)) else text("kept: nobody can be asked")

    @fixture.tool("Asks for two things at once.")
    async def multi_input(call: Call) -> Json:
        async def ask(asking: Call | Task) -> Json:
            who = form("What is your name?", {"name": {"type": "string"}}, ["name"])
            answered = await asking.ask(who=who, sure=agree)
            return text(f"{len(answered)} answers")

        return tasks.start(ask) if tasks.declared(call) else await ask(call)

    @fixture.tool("Asks for a name first, and then runs as a task.")
    async def test_tool_with_task(call: Call) -> Json:
        tasks.require(call)
        answered = await call.ask(user_name=form("What is your name?", {"name": {"type": "string"}}, ["name"]))
        name = (answered["user_name"].get("content") or {}).get("name")

        async def work(_: Task) -> Json:
            await asyncio.sleep(0.2)
            return text(f"done for {name}")

        return tasks.start(work)
