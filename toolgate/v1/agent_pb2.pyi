from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Scope(_message.Message):
    __slots__ = ("tenant", "endpoint", "server", "capabilities", "log_level")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    LOG_LEVEL_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    endpoint: str
    server: str
    capabilities: bytes
    log_level: str
    def __init__(self, tenant: _Optional[str] = ..., endpoint: _Optional[str] = ..., server: _Optional[str] = ..., capabilities: _Optional[bytes] = ..., log_level: _Optional[str] = ...) -> None: ...

class Round(_message.Message):
    __slots__ = ("request_state", "input_responses")
    REQUEST_STATE_FIELD_NUMBER: _ClassVar[int]
    INPUT_RESPONSES_FIELD_NUMBER: _ClassVar[int]
    request_state: str
    input_responses: bytes
    def __init__(self, request_state: _Optional[str] = ..., input_responses: _Optional[bytes] = ...) -> None: ...

class Question(_message.Message):
    __slots__ = ("method", "params")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    method: str
    params: bytes
    def __init__(self, method: _Optional[str] = ..., params: _Optional[bytes] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("kind", "result", "is_error", "questions", "request_state", "task_id")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Answer.Kind]
        COMPLETE: _ClassVar[Answer.Kind]
        INPUT_REQUIRED: _ClassVar[Answer.Kind]
        TASK: _ClassVar[Answer.Kind]
    KIND_UNSPECIFIED: Answer.Kind
    COMPLETE: Answer.Kind
    INPUT_REQUIRED: Answer.Kind
    TASK: Answer.Kind
    class QuestionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Question
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Question, _Mapping]] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    IS_ERROR_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_STATE_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    kind: Answer.Kind
    result: bytes
    is_error: bool
    questions: _containers.MessageMap[str, Question]
    request_state: str
    task_id: str
    def __init__(self, kind: _Optional[_Union[Answer.Kind, str]] = ..., result: _Optional[bytes] = ..., is_error: _Optional[bool] = ..., questions: _Optional[_Mapping[str, Question]] = ..., request_state: _Optional[str] = ..., task_id: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("progress", "total", "message")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    progress: float
    total: float
    message: str
    def __init__(self, progress: _Optional[float] = ..., total: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...

class LogMessage(_message.Message):
    __slots__ = ("level", "logger", "data")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    LOGGER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    level: str
    logger: str
    data: bytes
    def __init__(self, level: _Optional[str] = ..., logger: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class McpError(_message.Message):
    __slots__ = ("code", "message", "data")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    data: bytes
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class CallRequest(_message.Message):
    __slots__ = ("scope", "tool", "arguments", "round")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    tool: str
    arguments: bytes
    round: Round
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., tool: _Optional[str] = ..., arguments: _Optional[bytes] = ..., round: _Optional[_Union[Round, _Mapping]] = ...) -> None: ...

class CallResponse(_message.Message):
    __slots__ = ("answer",)
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    answer: Answer
    def __init__(self, answer: _Optional[_Union[Answer, _Mapping]] = ...) -> None: ...

class CallStreamResponse(_message.Message):
    __slots__ = ("progress", "log", "answer")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    log: LogMessage
    answer: Answer
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., log: _Optional[_Union[LogMessage, _Mapping]] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("scope", "kind", "page_token")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[ListEntriesRequest.Kind]
        TOOLS: _ClassVar[ListEntriesRequest.Kind]
        PROMPTS: _ClassVar[ListEntriesRequest.Kind]
        RESOURCES: _ClassVar[ListEntriesRequest.Kind]
        RESOURCE_TEMPLATES: _ClassVar[ListEntriesRequest.Kind]
    KIND_UNSPECIFIED: ListEntriesRequest.Kind
    TOOLS: ListEntriesRequest.Kind
    PROMPTS: ListEntriesRequest.Kind
    RESOURCES: ListEntriesRequest.Kind
    RESOURCE_TEMPLATES: ListEntriesRequest.Kind
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    kind: ListEntriesRequest.Kind
    page_token: str
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., kind: _Optional[_Union[ListEntriesRequest.Kind, str]] = ..., page_token: _Optional[str] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("name", "uri", "definition")
    NAME_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    name: str
    uri: str
    definition: bytes
    def __init__(self, name: _Optional[str] = ..., uri: _Optional[str] = ..., definition: _Optional[bytes] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("entries", "next_page_token", "ttl_ms", "etag")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    next_page_token: str
    ttl_ms: int
    etag: str
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., ttl_ms: _Optional[int] = ..., etag: _Optional[str] = ...) -> None: ...

class DiscoverRequest(_message.Message):
    __slots__ = ("scope",)
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ...) -> None: ...

class DiscoverResponse(_message.Message):
    __slots__ = ("capabilities", "instructions", "versions", "release")
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTIONS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    capabilities: bytes
    instructions: str
    versions: _containers.RepeatedScalarFieldContainer[str]
    release: str
    def __init__(self, capabilities: _Optional[bytes] = ..., instructions: _Optional[str] = ..., versions: _Optional[_Iterable[str]] = ..., release: _Optional[str] = ...) -> None: ...

class GetPromptRequest(_message.Message):
    __slots__ = ("scope", "prompt", "arguments", "round")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    prompt: str
    arguments: bytes
    round: Round
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., prompt: _Optional[str] = ..., arguments: _Optional[bytes] = ..., round: _Optional[_Union[Round, _Mapping]] = ...) -> None: ...

class GetPromptResponse(_message.Message):
    __slots__ = ("answer",)
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    answer: Answer
    def __init__(self, answer: _Optional[_Union[Answer, _Mapping]] = ...) -> None: ...

class ReadResourceRequest(_message.Message):
    __slots__ = ("scope", "uri", "round")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    uri: str
    round: Round
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., uri: _Optional[str] = ..., round: _Optional[_Union[Round, _Mapping]] = ...) -> None: ...

class ReadResourceResponse(_message.Message):
    __slots__ = ("answer",)
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    answer: Answer
    def __init__(self, answer: _Optional[_Union[Answer, _Mapping]] = ...) -> None: ...

class CompleteRequest(_message.Message):
    __slots__ = ("scope", "prompt", "uri", "argument", "value", "context")
    class ContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    ARGUMENT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    prompt: str
    uri: str
    argument: str
    value: str
    context: _containers.ScalarMap[str, str]
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., prompt: _Optional[str] = ..., uri: _Optional[str] = ..., argument: _Optional[str] = ..., value: _Optional[str] = ..., context: _Optional[_Mapping[str, str]] = ...) -> None: ...

class CompleteResponse(_message.Message):
    __slots__ = ("values", "total", "has_more")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    total: int
    has_more: bool
    def __init__(self, values: _Optional[_Iterable[str]] = ..., total: _Optional[int] = ..., has_more: _Optional[bool] = ...) -> None: ...

class GetTaskRequest(_message.Message):
    __slots__ = ("scope", "task_id")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    task_id: str
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., task_id: _Optional[str] = ...) -> None: ...

class GetTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: bytes
    def __init__(self, task: _Optional[bytes] = ...) -> None: ...

class UpdateTaskRequest(_message.Message):
    __slots__ = ("scope", "task_id", "input_responses")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_RESPONSES_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    task_id: str
    input_responses: bytes
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., task_id: _Optional[str] = ..., input_responses: _Optional[bytes] = ...) -> None: ...

class UpdateTaskResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CancelTaskRequest(_message.Message):
    __slots__ = ("scope", "task_id")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    task_id: str
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., task_id: _Optional[str] = ...) -> None: ...

class CancelTaskResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListenRequest(_message.Message):
    __slots__ = ("scope", "tools", "prompts", "resources", "uris", "task_ids")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    URIS_FIELD_NUMBER: _ClassVar[int]
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    tools: bool
    prompts: bool
    resources: bool
    uris: _containers.RepeatedScalarFieldContainer[str]
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., tools: _Optional[bool] = ..., prompts: _Optional[bool] = ..., resources: _Optional[bool] = ..., uris: _Optional[_Iterable[str]] = ..., task_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ListenResponse(_message.Message):
    __slots__ = ("began", "list_changed", "resource_updated", "task")
    class Began(_message.Message):
        __slots__ = ("tools", "prompts", "resources", "uris", "task_ids")
        TOOLS_FIELD_NUMBER: _ClassVar[int]
        PROMPTS_FIELD_NUMBER: _ClassVar[int]
        RESOURCES_FIELD_NUMBER: _ClassVar[int]
        URIS_FIELD_NUMBER: _ClassVar[int]
        TASK_IDS_FIELD_NUMBER: _ClassVar[int]
        tools: bool
        prompts: bool
        resources: bool
        uris: _containers.RepeatedScalarFieldContainer[str]
        task_ids: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, tools: _Optional[bool] = ..., prompts: _Optional[bool] = ..., resources: _Optional[bool] = ..., uris: _Optional[_Iterable[str]] = ..., task_ids: _Optional[_Iterable[str]] = ...) -> None: ...
    BEGAN_FIELD_NUMBER: _ClassVar[int]
    LIST_CHANGED_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_UPDATED_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    began: ListenResponse.Began
    list_changed: ListEntriesRequest.Kind
    resource_updated: str
    task: bytes
    def __init__(self, began: _Optional[_Union[ListenResponse.Began, _Mapping]] = ..., list_changed: _Optional[_Union[ListEntriesRequest.Kind, str]] = ..., resource_updated: _Optional[str] = ..., task: _Optional[bytes] = ...) -> None: ...
