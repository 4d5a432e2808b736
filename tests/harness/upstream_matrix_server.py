"""A server on the lowest layer of the official SDK. A tool is written once and asks as its caller's era does."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp.server.connection import allowed_log_levels
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.types import (
    CallToolRequestParams,
    CompleteRequestParams,
    CreateMessageRequest,
    CreateMessageResult,
    ElicitRequest,
    ElicitResult,
    EmptyResult,
    GetPromptRequestParams,
    ListRootsRequest,
    ListRootsResult,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    NotificationParams,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

Json = dict[str, Any]
LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
MISSING_CAPABILITY = -32021
INVALID_PARAMS = -32602
RESOURCE_NOT_FOUND = -32002
REQUESTS = {
    "elicitation/create": (ElicitRequest, ElicitResult),
    "sampling/createMessage": (CreateMessageRequest, CreateMessageResult),
    "roots/list": (ListRootsRequest, ListRootsResult),
}


class NeedsInput(Exception):
    """Ends a call with `input_required`: what is asked, and the answers so far."""

    def __init__(self, requests: Json, state: str | None) -> None:
        super().__init__(*requests)
        self.result: Json = {"resultType": "input_required", "inputRequests": requests}
        if state is not None:
            self.result["requestState"] = state


@dataclass
class Call:
    """One request of one caller: `arguments` are its tool's or prompt's."""

    fixture: "Fixture"
    ctx: ServerRequestContext[Any, Any]
    arguments: Json

    @property
    def modern(self) -> bool:
        return self.ctx.protocol_version in MODERN_PROTOCOL_VERSIONS

    @property
    def responses(self) -> Json:
        """The client's answers, as this retry carries them."""
        return dict((self.ctx.params or {}).get("inputResponses") or {})

    @property
    def state(self) -> str | None:
        """What the last round gave the client to give back; the SDK has checked its seal."""
        given = (self.ctx.params or {}).get("requestState")
        return None if given is None else str(given)

    @property
    def capabilities(self) -> Json:
        declared = self.ctx.session.client_capabilities
        return {} if declared is None else declared.model_dump(mode="json", by_alias=True, exclude_none=True)

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Progress with the caller's token; nothing where it gave none."""
        token = (self.ctx.meta or {}).get("progress_token")
        if token is not None:
            await self.ctx.session.send_progress_notification(token, done, total, message, self.ctx.request_id)

    async def log(self, level: str, data: object) -> None:
        """A log message on this call's stream, where its caller wants that level."""
        if level not in self._wanted():
            return
        params = LoggingMessageNotificationParams(level=level, logger="fixture", data=data)  # type: ignore[arg-type]
        await self.ctx.session.send_notification(LoggingMessageNotification(params=params), self.ctx.request_id)

    def _wanted(self) -> list[str]:
        if self.modern:
            return [level for level in LEVELS if level in allowed_log_levels(self.ctx.protocol_version, self.ctx.meta)]
        return LEVELS[LEVELS.index(self.fixture.levels.get(self.ctx.session._connection, "debug")) :]

    async def ask(self, **questions: Json) -> Json:
        """The client's answer to each question, in wire shape. Ends the call where they come with a retry."""
        for question in questions.values():
            self.require(question)
        if not self.modern:
            given = await asyncio.gather(*(self._ask_now(question) for question in questions.values()))
            return dict(zip(questions, given, strict=True))
        known: Json = json.loads(self.state) if self.state else {}
        known |= self.responses
        missing = {key: question for key, question in questions.items() if key not in known}
        if missing:
            raise NeedsInput(missing, json.dumps(known))
        return {key: known[key] for key in questions}

    def require(self, question: Json) -> None:
        """Raises -32021 where the client did not declare that it can be asked this."""
        needed = needs(question)
        if not covers(self.capabilities, needed):
            raise MCPError(MISSING_CAPABILITY, "the client cannot be asked this", {"requiredCapabilities": needed})

    async def ask_aside(self, **questions: Json) -> Json:
        """As `ask`, in the handshake era on the session's own stream: as servers do that lose track of their calls."""
        if self.modern:
            return await self.ask(**questions)
        return {key: await self._ask_now(question, aside=True) for key, question in questions.items()}

    async def _ask_now(self, question: Json, *, aside: bool = False) -> Json:
        request, result = REQUESTS[question["method"]]
        # Tied to this call, or Streamable HTTP puts it on the stream of nobody's request.
        metadata = None if aside else ServerMessageMetadata(related_request_id=self.ctx.request_id)
        answer = await self.ctx.session.send_request(request.model_validate(question), result, metadata=metadata)
        return answer.model_dump(mode="json", by_alias=True, exclude_none=True)


Handler = Callable[[Call], Awaitable[Json]]


@dataclass
class Fixture:
    """A catalogue that its own tools may change, and what its callers did. Served by `server`."""

    name: str
    page: int = 1000
    revision: str | None = None
    """The latest handshake revision served; None: the SDK's."""
    tools: dict[str, tuple[Json, Handler]] = field(default_factory=dict)
    prompts: dict[str, tuple[Json, Handler]] = field(default_factory=dict)
    resources: dict[str, tuple[Json, Handler]] = field(default_factory=dict)
    templates: dict[str, tuple[Json, Callable[[Call, str], Awaitable[Json | None]]]] = field(default_factory=dict)
    complete: Callable[[CompleteRequestParams], list[str]] = lambda _: []
    instructions: str | None = None
    bus: InMemorySubscriptionBus = field(default_factory=InMemorySubscriptionBus)
    sessions: list[ServerSession] = field(default_factory=list)
    levels: dict[object, str] = field(default_factory=dict)
    """By legacy connection."""
    subscribed: dict[str, list[ServerSession]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """Every method received, in order."""

    def tool(self, description: str, schema: Json | None = None, **extra: object) -> Callable[[Handler], Handler]:
        """Registers a tool named as its function."""

        def register(handler: Handler) -> Handler:
            self.add_tool(handler.__name__, handler, description, schema, **extra)
            return handler

        return register

    def add_tool(
        self, name: str, handler: Handler, description: str, schema: Json | None = None, **extra: object
    ) -> None:
        shown = {"name": name, "description": description, "inputSchema": schema or {"type": "object"}, **extra}
        self.tools[name] = (shown, handler)

    def prompt(self, description: str, *arguments: str, **extra: object) -> Callable[[Handler], Handler]:
        """Registers a prompt named as its function; every argument is required."""

        def register(handler: Handler) -> Handler:
            wanted = [{"name": name, "description": f"The {name}.", "required": True} for name in arguments]
            shown = {"name": handler.__name__, "description": description, "arguments": wanted, **extra}
            self.prompts[handler.__name__] = (shown, handler)
            return handler

        return register

    def resource(self, uri: str, name: str, mime: str, description: str) -> Callable[[Handler], Handler]:
        """Registers a resource."""

        def register(handler: Handler) -> Handler:
            self.resources[uri] = (
                {"uri": uri, "name": name, "mimeType": mime, "description": description},
                handler,
            )
            return handler

        return register

    def server(self) -> "Serving":
        return Serving(self)

    async def broadcast(self, event: object, send: Callable[[ServerSession], Awaitable[None]]) -> None:
        """To every listen stream and every legacy session; sessions that are gone are forgotten."""
        await self.bus.publish(event)  # type: ignore[arg-type]
        for session in list(self.sessions):
            try:
                async with asyncio.timeout(1):
                    await send(session)
            except Exception:
                self.sessions.remove(session)


class Serving(Server[Any]):
    """The SDK's server over a Fixture."""

    def __init__(self, fixture: Fixture) -> None:
        self.fixture = fixture
        super().__init__(
            fixture.name,
            version="1",
            instructions=fixture.instructions,
            get_tool_input_schema=self._schema,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,  # type: ignore[arg-type]
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read,  # type: ignore[arg-type]
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,  # type: ignore[arg-type]
            on_completion=self._complete,  # type: ignore[arg-type]
            on_subscribe_resource=self._subscribe,
            on_unsubscribe_resource=self._unsubscribe,
            on_subscriptions_listen=ListenHandler(fixture.bus),
        )
        # Registered here because the constructor's argument for it warns that logging is deprecated.
        self.add_request_handler("logging/setLevel", SetLevelRequestParams, self._set_level)
        self.add_notification_handler("notifications/initialized", NotificationParams, self._initialized)
        self.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=fixture.name))
        self.middleware.append(self._count)

    def create_initialization_options(self, *_: Any, **__: Any) -> InitializationOptions:
        changing = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
        return super().create_initialization_options(changing)

    async def _count(self, ctx: ServerRequestContext[Any, Any], call_next: Any) -> Any:
        self.fixture.requests.append(ctx.method)
        result = await call_next(ctx)
        if ctx.method == "initialize" and self.fixture.revision is not None:
            result = {**result, "protocolVersion": min(result["protocolVersion"], self.fixture.revision)}
        return result

    def _schema(self, name: str) -> Mapping[str, Any] | None:
        shown = self.fixture.tools.get(name)
        return None if shown is None else shown[0]["inputSchema"]

    async def _initialized(self, ctx: ServerRequestContext[Any, Any], params: NotificationParams) -> None:
        self.fixture.sessions.append(ctx.session)

    async def _set_level(self, ctx: ServerRequestContext[Any, Any], params: SetLevelRequestParams) -> EmptyResult:
        self.fixture.levels[ctx.session._connection] = params.level
        return EmptyResult()

    async def _subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        self.fixture.subscribed.setdefault(params.uri, []).append(ctx.session)
        return EmptyResult()

    async def _unsubscribe(self, ctx: ServerRequestContext[Any, Any], params: Any) -> EmptyResult:
        mine = self.fixture.subscribed.get(params.uri, [])
        mine[:] = [session for session in mine if session._connection is not ctx.session._connection]
        return EmptyResult()

    async def _list_tools(self, ctx: Any, params: PaginatedRequestParams | None) -> Any:
        return self._listed("tools", [shown for shown, _ in self.fixture.tools.values()], params)

    async def _list_prompts(self, ctx: Any, params: PaginatedRequestParams | None) -> Any:
        return self._listed("prompts", [shown for shown, _ in self.fixture.prompts.values()], params)

    async def _list_resources(self, ctx: Any, params: PaginatedRequestParams | None) -> Any:
        return self._listed("resources", [shown for shown, _ in self.fixture.resources.values()], params)

    async def _list_templates(self, ctx: Any, params: PaginatedRequestParams | None) -> Any:
        return self._listed("resourceTemplates", [shown for shown, _ in self.fixture.templates.values()], params)

    def _listed(self, kind: str, items: list[Json], params: PaginatedRequestParams | None) -> Json:
        start = from_cursor(params.cursor if params else None, len(items))
        listed = hinted({"resultType": "complete", kind: items[start : start + self.fixture.page]})
        if start + self.fixture.page < len(items):
            listed["nextCursor"] = base64.b64encode(b"from %d" % (start + self.fixture.page)).decode()
        return listed

    async def _call_tool(self, ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams) -> Json:
        known = self.fixture.tools.get(params.name)
        if known is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name}")
        return await self._run(known[1], Call(self.fixture, ctx, dict(params.arguments or {})))

    async def _get_prompt(self, ctx: ServerRequestContext[Any, Any], params: GetPromptRequestParams) -> Json:
        known = self.fixture.prompts.get(params.name)
        if known is None:
            raise MCPError(INVALID_PARAMS, f"Unknown prompt: {params.name}")
        arguments: Json = dict(params.arguments or {})
        missing = [one["name"] for one in known[0]["arguments"] if one["name"] not in arguments]
        if missing:
            raise MCPError(INVALID_PARAMS, f"missing arguments: {', '.join(missing)}")
        return await self._run(known[1], Call(self.fixture, ctx, arguments))

    async def _read(self, ctx: ServerRequestContext[Any, Any], params: ReadResourceRequestParams) -> Json:
        call = Call(self.fixture, ctx, {})
        known = self.fixture.resources.get(params.uri)
        if known is not None:
            return hinted(await self._run(known[1], call))
        for _, reads in self.fixture.templates.values():
            content = await reads(call, params.uri)
            if content is not None:
                return hinted({"resultType": "complete", "contents": [content]})
        code = INVALID_PARAMS if call.modern else RESOURCE_NOT_FOUND
        raise MCPError(code, f"Resource not found: {params.uri}", {"uri": params.uri})

    async def _complete(self, ctx: ServerRequestContext[Any, Any], params: CompleteRequestParams) -> Json:
        values = self.fixture.complete(params)
        completion = {"values": values[:100], "total": len(values), "hasMore": len(values) > 100}
        return {"resultType": "complete", "completion": completion}

    async def _run(self, handler: Handler, call: Call) -> Json:
        try:
            return {"resultType": "complete", **await handler(call)}
        except NeedsInput as needs_input:
            return needs_input.result


def hinted(read: Json) -> Json:
    return read if "inputRequests" in read else {**read, "ttlMs": 1000, "cacheScope": "private"}


def from_cursor(cursor: str | None, length: int) -> int:
    if cursor is None:
        return 0
    try:
        start = int(base64.b64decode(cursor, validate=True).decode().removeprefix("from "))
    except ValueError:
        start = -1
    if not 0 < start < length:
        raise MCPError(INVALID_PARAMS, f"Invalid cursor: {cursor}")
    return start


def form(message: str, properties: Json, required: list[str] | None = None) -> Json:
    schema = {"type": "object", "properties": properties, "required": required or []}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def visit(message: str, url: str, elicitation_id: str) -> Json:
    """A question in URL mode. The id is the handshake era's; the other ignores it."""
    params = {"mode": "url", "message": message, "url": url, "elicitationId": elicitation_id}
    return {"method": "elicitation/create", "params": params}


def sample(prompt: str, max_tokens: int = 100) -> Json:
    messages = [{"role": "user", "content": {"type": "text", "text": prompt}}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": max_tokens}}


def roots() -> Json:
    return {"method": "roots/list"}


def needs(question: Json) -> Json:
    """The capability a client must have declared to be asked this."""
    if question["method"] == "elicitation/create":
        return {"elicitation": {"url": {}} if question["params"].get("mode") == "url" else {}}
    return {"sampling": {}} if question["method"] == "sampling/createMessage" else {"roots": {}}


def covers(declared: Json, needed: Json) -> bool:
    return all(key in declared and covers(declared[key] or {}, value) for key, value in needed.items())


def text(said: str, **extra: object) -> Json:
    """A tool's result."""
    return {"content": [{"type": "text", "text": said}], **extra}


def message(content: Json) -> Json:
    return {"role": "user", "content": content}
