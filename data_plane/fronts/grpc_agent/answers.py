"""From what the pipeline answers to gRPC's messages and status details."""

import math
from typing import Final

import msgspec
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from msgspec import Raw, Struct, field

from core.call import Inbound, Notification
from core.errors import Reason, Unavailable
from core.mcp import notifications, rounds
from core.mcp.grpc_status import GrpcError
from toolgate.v1 import agent_pb2 as pb

DOMAIN: Final = "toolgate"
DETAILS_KEY: Final = "grpc-status-details-bin"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
# Clients take 8 KiB of metadata by default, and fail the call in a way of their own for more.
_MAX_MESSAGE: Final = 512
_MAX_DATA: Final = 3 * 1024

_KINDS: Final[dict[str, pb.Answer.Kind]] = {
    "complete": pb.Answer.COMPLETE,
    "input_required": pb.Answer.INPUT_REQUIRED,
    "task": pb.Answer.TASK,
}


class _Entry(Struct):
    name: str = ""
    uri: str = ""
    template: str = field(default="", name="uriTemplate")


class _Page(Struct, rename="camel"):
    next_cursor: str = ""
    ttl_ms: int = 0
    tools: list[Raw] = field(default_factory=list)
    prompts: list[Raw] = field(default_factory=list)
    resources: list[Raw] = field(default_factory=list)
    resource_templates: list[Raw] = field(default_factory=list)


class _Discovered(Struct, rename="camel"):
    supported_versions: list[str]
    capabilities: Raw
    instructions: str = ""


class _Values(Struct, rename="camel"):
    values: list[str]
    total: int | None = None
    has_more: bool = False


class _Completed(Struct):
    completion: _Values


class _Task(Struct):
    id: str = field(default="", name="taskId")


class _Progress(Struct):
    progress: float
    total: float | None = None
    message: str = ""


class _Log(Struct):
    level: str = ""
    logger: str = ""
    data: Raw = Raw(b"null")


class _Updated(Struct):
    uri: str = ""


class _Acknowledged(Struct, rename="camel"):
    tools_list_changed: bool = False
    prompts_list_changed: bool = False
    resources_list_changed: bool = False
    resource_subscriptions: list[str] = field(default_factory=list)
    task_ids: list[str] = field(default_factory=list)


class _Acknowledgement(Struct):
    notifications: _Acknowledged


_entry = msgspec.json.Decoder(_Entry)
_page = msgspec.json.Decoder(_Page)


def answer(value: bytes, *, is_error: bool) -> pb.Answer:
    """Of tools/call, prompts/get and resources/read."""
    kind = _KINDS.get(rounds.kind(value), pb.Answer.KIND_UNSPECIFIED)
    made = pb.Answer(kind=kind, result=value, is_error=is_error)
    if kind == pb.Answer.INPUT_REQUIRED:
        asked = rounds.read(value)
        if asked is not None:
            for key, question in asked.questions.items():
                made.questions[key].method, made.questions[key].params = question.method, question.params
            if asked.state is not None:
                made.request_state = asked.state
    elif kind == pb.Answer.TASK:
        made.task_id = msgspec.json.decode(value, type=_Task).id
    return made


def entries(value: bytes, etag: str) -> pb.ListEntriesResponse:
    page = _page.decode(value)
    made = pb.ListEntriesResponse(next_page_token=page.next_cursor, ttl_ms=page.ttl_ms, etag=etag)
    for raw in (*page.tools, *page.prompts, *page.resources, *page.resource_templates):
        entry = _entry.decode(raw)
        made.entries.add(name=entry.name, uri=entry.uri or entry.template, definition=bytes(raw))
    return made


def discovered(value: bytes, release: str) -> pb.DiscoverResponse:
    found = msgspec.json.decode(value, type=_Discovered)
    return pb.DiscoverResponse(
        capabilities=bytes(found.capabilities),
        instructions=found.instructions,
        versions=found.supported_versions,
        release=release,
    )


def completed(value: bytes) -> pb.CompleteResponse:
    """Raises Unavailable(UPSTREAM_UNAVAILABLE) for what is no completion."""
    try:
        found = msgspec.json.decode(value, type=_Completed).completion
    except msgspec.DecodeError as failure:
        raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "The server answered what is not MCP.") from failure
    return pb.CompleteResponse(values=found.values, total=found.total, has_more=found.has_more)


def event(notification: Notification, inbound: Inbound) -> pb.CallStreamResponse | None:
    """A message of a call's stream; None for what was not asked for, or cannot be read."""
    if notifications.outgoing(notification, inbound) is None:
        return None
    try:
        if notification.method == "notifications/progress":
            step = msgspec.json.decode(notification.params, type=_Progress)
            told = pb.Progress(progress=step.progress, total=step.total, message=step.message)
            return pb.CallStreamResponse(progress=told)
        if notification.method == "notifications/message":
            line = msgspec.json.decode(notification.params, type=_Log)
            return pb.CallStreamResponse(log=pb.LogMessage(level=line.level, logger=line.logger, data=bytes(line.data)))
    except msgspec.DecodeError:
        return None
    return None


_CHANGED: Final = {
    "notifications/tools/list_changed": pb.ListEntriesRequest.TOOLS,
    "notifications/prompts/list_changed": pb.ListEntriesRequest.PROMPTS,
    "notifications/resources/list_changed": pb.ListEntriesRequest.RESOURCES,
}


def began(acknowledgement: bytes) -> pb.ListenResponse:
    """`acknowledgement`: params of notifications/subscriptions/acknowledged."""
    honoured = msgspec.json.decode(acknowledgement, type=_Acknowledgement).notifications
    return pb.ListenResponse(
        began=pb.ListenResponse.Began(
            tools=honoured.tools_list_changed,
            prompts=honoured.prompts_list_changed,
            resources=honoured.resources_list_changed,
            uris=honoured.resource_subscriptions,
            task_ids=honoured.task_ids,
        )
    )


def news(notification: Notification) -> pb.ListenResponse | None:
    """A message of a listener's stream; None for what has no place there."""
    changed = _CHANGED.get(notification.method)
    if changed is not None:
        return pb.ListenResponse(list_changed=changed)
    if notification.method == "notifications/tasks":
        return pb.ListenResponse(task=notification.params)
    if notification.method == "notifications/resources/updated":
        try:
            return pb.ListenResponse(resource_updated=msgspec.json.decode(notification.params, type=_Updated).uri)
        except msgspec.DecodeError:
            return None
    return None


def trailing(failure: GrpcError) -> tuple[tuple[str, str | bytes], ...]:
    """Metadata behind an error: google.rpc.Status, and when to try again for clients that retry by themselves."""
    error = failure.error
    message = error.message[:_MAX_MESSAGE]
    info = error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN)
    told = pb.McpError(code=error.code, message=message, data=error.data if len(error.data) <= _MAX_DATA else b"")
    details = [_packed(info), _packed(told)]
    pushback: tuple[tuple[str, str | bytes], ...] = ()
    if error.retry_after_s is not None:
        delay_ms = max(1, math.ceil(error.retry_after_s * 1000))
        delay = duration_pb2.Duration(seconds=delay_ms // 1000, nanos=delay_ms % 1000 * 1_000_000)
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
        pushback = ((PUSHBACK_KEY, str(delay_ms)),)
    status = status_pb2.Status(code=failure.status, message=message, details=details)
    return ((DETAILS_KEY, status.SerializeToString()), *pushback)


def text(failure: GrpcError) -> str:
    return failure.error.message[:_MAX_MESSAGE]


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
