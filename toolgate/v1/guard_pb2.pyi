from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RevealTokensRequest(_message.Message):
    __slots__ = ("tenant", "tokens", "reason")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    tokens: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    def __init__(self, tenant: _Optional[str] = ..., tokens: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ...) -> None: ...

class RevealedToken(_message.Message):
    __slots__ = ("token", "detector", "value")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    token: str
    detector: str
    value: str
    def __init__(self, token: _Optional[str] = ..., detector: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class RevealTokensResponse(_message.Message):
    __slots__ = ("tokens",)
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[RevealedToken]
    def __init__(self, tokens: _Optional[_Iterable[_Union[RevealedToken, _Mapping]]] = ...) -> None: ...
