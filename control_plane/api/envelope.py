"""Resources between the domain and protobuf: the envelope, and specs as `google.protobuf.Struct`."""

import msgspec
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.api.jsonwire import whole_numbers
from core.admin import Applied, Draft, Event, Outcome
from core.kinds import kind_named
from core.resource import Resource, digest, encode
from toolgate.v1 import resources_pb2 as pb

_OUTCOMES = {
    Outcome.CREATED: pb.OUTCOME_CREATED,
    Outcome.CHANGED: pb.OUTCOME_CHANGED,
    Outcome.UNCHANGED: pb.OUTCOME_UNCHANGED,
}
_EVENT_TYPES = {
    "applied": pb.EVENT_TYPE_APPLIED,
    "deleted": pb.EVENT_TYPE_DELETED,
    "synced": pb.EVENT_TYPE_SYNCED,
}


def draft_of(request: pb.ApplyRequest) -> Draft:
    return Draft(
        kind=kind_named(request.kind) or request.kind,
        tenant=request.tenant,
        name=request.name,
        namespace=request.namespace,
        labels=dict(request.labels),
        spec=json_of(request.spec),
        generation=request.generation,
    )


def resource_message(resource: Resource) -> pb.Resource:
    return pb.Resource(
        kind=resource.kind,
        tenant=resource.tenant,
        namespace=resource.namespace,
        name=resource.name,
        spec=struct_of(msgspec.to_builtins(resource.spec)),
        status=struct_of(msgspec.to_builtins(resource.status)),
        generation=resource.generation,
        digest=digest(encode(resource.spec)).hex(),
        labels=resource.labels,
        created_at=timestamp_of(resource.created_unix),
        updated_at=timestamp_of(resource.updated_unix),
    )


def applied_message(applied: Applied) -> pb.ApplyResponse:
    return pb.ApplyResponse(resource=resource_message(applied.resource), outcome=_OUTCOMES[applied.outcome])


def event_message(event: Event) -> pb.Event:
    return pb.Event(
        type=_EVENT_TYPES[event.type],
        revision=event.revision,
        resource=None if event.resource is None else resource_message(event.resource),
    )


def struct_of(value: dict[str, object]) -> Struct:
    """A JSON object as a Struct; bytes in base64, dates as text. The value must be finite."""
    struct = Struct()
    for name, item in value.items():
        struct.fields[name].CopyFrom(_value_of(item))
    return struct


def _value_of(item: object) -> Value:
    match item:
        case None:
            return Value(null_value=0)  # type: ignore[arg-type]
        case bool():
            return Value(bool_value=item)
        case int() | float():
            return Value(number_value=item)
        case str():
            return Value(string_value=item)
        case dict():
            return Value(struct_value=struct_of(item))
        case list() | tuple():
            return Value(list_value=ListValue(values=[_value_of(i) for i in item]))
        case _:
            raise TypeError(f"{type(item).__name__} is not JSON")


def json_of(struct: Struct) -> dict[str, object]:
    """The object a Struct holds, whole numbers as integers; numbers JSON cannot say are for validation to find."""
    return {name: _json_value(value) for name, value in struct.fields.items()}


def _json_value(value: Value) -> object:
    match value.WhichOneof("kind"):
        case "number_value":
            return whole_numbers(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return json_of(value.struct_value)
        case "list_value":
            return [_json_value(item) for item in value.list_value.values]
        case _:
            return None


def timestamp_of(unix: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(round(unix * 1_000_000))
    return stamp


def unix_of(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9
