"""The admin RPCs as data: what each takes and gives, who runs it, and its REST bindings."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf import descriptor
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from core.admin import Admin

if TYPE_CHECKING:
    from google._upb import _message

MessageType: TypeAlias = "descriptor.Descriptor | _message.Descriptor"
Field: TypeAlias = "descriptor.FieldDescriptor | _message.FieldDescriptor"
"""A descriptor is of one of two classes that are alike, as the runtime has it."""

Unary = Callable[[Admin, Message], Awaitable[Message]]
Streaming = Callable[[Admin, Message], AsyncIterator[Message]]


@dataclass(frozen=True)
class Binding:
    """One REST route of an RPC: `template` as in `google.api.http`, such as `/v1/tenants/{tenant}/{kind}`."""

    verb: str
    template: str
    has_body: bool


@dataclass(frozen=True)
class Rpc:
    """One method of a service. Exactly one of `unary` and `streaming` runs it."""

    service: str
    name: str
    request: type[Message]
    response: type[Message]
    bindings: tuple[Binding, ...]
    unary: Unary | None = None
    streaming: Streaming | None = None

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


def rpcs(service: ServiceDescriptor, handlers: Mapping[str, Unary | Streaming]) -> Sequence[Rpc]:
    """Every method of `service` with its handler, by name. A missing handler is a KeyError at start."""
    return [_rpc(service, method, handlers[method.name]) for method in service.methods]


def _rpc(service: ServiceDescriptor, method: MethodDescriptor, handler: Unary | Streaming) -> Rpc:
    streams = method.server_streaming
    return Rpc(
        service=service.full_name,
        name=method.name,
        request=GetMessageClass(method.input_type),
        response=GetMessageClass(method.output_type),
        bindings=_bindings(method),
        unary=None if streams else handler,  # type: ignore[arg-type]
        streaming=handler if streams else None,  # type: ignore[arg-type]
    )


def _bindings(method: MethodDescriptor) -> tuple[Binding, ...]:
    rule: HttpRule = method.GetOptions().Extensions[annotations_pb2.http]
    return tuple(_binding(r) for r in (rule, *rule.additional_bindings) if r.WhichOneof("pattern"))


def _binding(rule: HttpRule) -> Binding:
    verb = rule.WhichOneof("pattern")
    if rule.body not in ("", "*"):
        raise ValueError(f'{rule}: only body "*" is served')
    return Binding(verb=verb.upper(), template=getattr(rule, verb), has_body=rule.body == "*")
