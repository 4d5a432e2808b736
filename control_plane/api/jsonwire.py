"""JSON to request messages and back, after the proto3 JSON mapping, with every problem named by field.

Field names are the protos' own (snake_case), as in specs; camelCase is taken too. One departure from the mapping:
64-bit integers are written as numbers, which every parser of the mapping takes; ours (generations, revisions, counts)
stay below 2^53.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from control_plane.api.rpc import Field, MessageType
from core.admin import Rejected, Why
from core.kinds import kind_named
from core.resource import Problem
from core.validate import MAX_PROBLEMS

READ_ONLY = frozenset({"status", "digest", "created_at", "updated_at", "createdAt", "updatedAt"})
"""Members of a Resource that Toolgate writes: ignored in an Apply, so that what was read can be sent back."""

_RULES = {
    FieldDescriptor.CPPTYPE_INT32: "must be an integer",
    FieldDescriptor.CPPTYPE_INT64: "must be an integer",
    FieldDescriptor.CPPTYPE_BOOL: "must be true or false",
    FieldDescriptor.CPPTYPE_STRING: "must be a string",
    FieldDescriptor.CPPTYPE_ENUM: "must be one of the enum's names",
    FieldDescriptor.CPPTYPE_DOUBLE: "must be a number",
}
_NEEDED = {"ApplyRequest": ("spec",)}
"""Members a body must have, whatever protobuf makes of one without."""
_EXACT = 2**53
"""Above this a double does not hold every integer."""
_LARGEST = 2**1023
_RFC3339 = "must be a time such as 2027-01-01T00:00:00Z"


class Misread(Rejected):
    """`message` is the request without what could not be read of it."""

    def __init__(self, message: Message, problems: Sequence[Problem]) -> None:
        super().__init__(Why.INVALID, "the request is invalid", problems)
        self.message = message


def parse_body(body: bytes) -> dict[str, object]:
    """The body's JSON object; an empty body is an empty object. Raises Rejected."""
    if not body.strip():
        return {}
    try:
        value = msgspec.json.decode(body)
        twice = _twice(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as failure:
        detail = "nested too deeply" if isinstance(failure, RecursionError) else str(failure)
        raise Rejected(Why.INVALID, f"the body is not JSON: {detail}", [Problem("", "must be JSON")]) from failure
    if not isinstance(value, dict):
        raise Rejected(Why.INVALID, "the body must be a JSON object", [Problem("", "must be an object")])
    if twice:
        problems = [Problem(name, "is there twice in one object") for name in twice]
        raise Rejected(Why.INVALID, "the body says one thing twice", problems)
    return value


def _twice(body: bytes) -> list[str]:
    """Members an object has twice, of which the decoder would take the last without a word."""
    found: dict[str, None] = {}

    def members(pairs: list[tuple[str, object]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                found[name] = None
            seen.add(name)

    # What it makes of the values is not looked at: numbers of any length stay text.
    json.loads(body, object_pairs_hook=members, parse_int=str, parse_float=str)
    return list(found)[:MAX_PROBLEMS]


def read_message(
    kind: type[Message], *, path: Mapping[str, str], query: Iterable[tuple[str, str]], body: Mapping[str, object] | None
) -> Message:
    """The request the three say together; the path wins where a body repeats it. Raises Misread with all problems."""
    message = kind()
    problems: list[Problem] = []
    for name, text in path.items():
        setattr(message, name, text)
    problems += _from_query(message, path, query, has_body=body is not None)
    if body is not None:
        problems += _from_body(message, path, body)
    if problems:
        raise Misread(message, problems)
    return message


def write_message(message: Message) -> bytes:
    """Compact JSON with empty fields in place, so that a program finds every member it expects."""
    return encode(message_value(message))


def encode(value: object) -> bytes:
    return msgspec.json.encode(value)


def message_value(message: Message) -> dict[str, object]:
    value = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _numbers(value, message.DESCRIPTOR)


def _numbers(value: dict[str, object], descriptor: MessageType) -> dict[str, object]:
    shown: dict[str, object] = {}
    for name, field in ((f.name, f) for f in descriptor.fields if f.name in value):
        item = value[name]
        if field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64):
            shown[name] = int(str(item))
        elif field.message_type is None or field.message_type.full_name.startswith("google.") or _is_map(field):
            shown[name] = whole_numbers(item)
        elif isinstance(item, list):
            shown[name] = [_numbers(i, field.message_type) for i in item]
        else:
            assert isinstance(item, dict)
            shown[name] = _numbers(item, field.message_type)
    return shown


def _is_map(field: Field) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def whole_numbers(value: object) -> object:
    """The same JSON value with 30.0 as 30: a protobuf Struct holds doubles only, people and schemas mean integers."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, dict):
        return {k: whole_numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [whole_numbers(v) for v in value]
    return value


def fields_of(kind: type[Message]) -> dict[str, Field]:
    """By proto name and by JSON name."""
    found = {f.name: f for f in kind.DESCRIPTOR.fields}
    return found | {f.json_name: f for f in kind.DESCRIPTOR.fields}


def _from_query(
    message: Message, path: Mapping[str, str], query: Iterable[tuple[str, str]], *, has_body: bool
) -> Iterator[Problem]:
    fields = fields_of(type(message))
    seen: set[str] = set()
    for name, text in query:
        field = fields.get(name)
        if field is None or field.name in path or has_body:
            yield Problem(name, "is no parameter of this request")
        elif field.name in seen:
            yield Problem(name, "is given twice")
        else:
            seen.add(field.name)
            yield from _set(message, field, _query_value(field, text))


def _query_value(field: Field, text: str) -> object:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"true": True, "false": False}.get(text, text)
    return text


def _from_body(message: Message, path: Mapping[str, str], body: Mapping[str, object]) -> Iterator[Problem]:
    fields = fields_of(type(message))
    for name, value in body.items():
        field = fields.get(name)
        if field is None:
            if not (name in READ_ONLY and "spec" in fields):
                yield Problem(name, f"is no field; there are {', '.join(_body_names(type(message), path))}")
        elif field.name in path:
            if not _same(field.name, value, path[field.name]):
                yield Problem(name, f"must be {path[field.name]!r}, as in the path")
        elif value is None and _is_object(field):
            yield Problem(field.name, "must be an object, not null")
        else:
            yield from _set(message, field, value)
    for name in _NEEDED.get(message.DESCRIPTOR.name, ()):
        if name not in body:
            yield Problem(name, "is required")


def _is_object(field: Field) -> bool:
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Struct"


def _same(name: str, value: object, in_path: str) -> bool:
    if name == "kind" and isinstance(value, str):
        return kind_named(value) == kind_named(in_path)
    return value == in_path


def _body_names(kind: type[Message], path: Mapping[str, str]) -> list[str]:
    return [f.name for f in kind.DESCRIPTOR.fields if f.name not in path]


def _set(message: Message, field: Field, value: object) -> Iterator[Problem]:
    if value is None:
        return
    if isinstance(value, bool) and field.cpp_type != FieldDescriptor.CPPTYPE_BOOL and field.message_type is None:
        yield Problem(field.name, _rule(field))
        return
    try:
        json_format.ParseDict({field.name: value}, message)
    except OverflowError:
        yield from _set(message, field, _as_doubles(value))
    except (json_format.ParseError, ValueError, TypeError, RecursionError):
        yield Problem(field.name, _rule(field))


def _as_doubles(value: object) -> object:
    """The same JSON value with numbers no double can hold as infinite: validation says which they are."""
    if isinstance(value, int) and abs(value) > _LARGEST:
        return float("inf")
    if isinstance(value, dict):
        return {k: _as_doubles(v) for k, v in value.items()}
    return [_as_doubles(v) for v in value] if isinstance(value, list) else value


def _rule(field: Field) -> str:
    if field.message_type is not None:
        if _is_map(field):
            return "must be an object of strings"
        return _RFC3339 if field.message_type.name == "Timestamp" else "must be an object, at most 100 levels deep"
    return _RULES.get(field.cpp_type, "has the wrong type")


_VARIABLE = re.compile(r"\{([a-z_]+)\}")


def template_regex(template: str) -> re.Pattern[str]:
    """A whole-path pattern with one group per variable; a variable holds no '/' and no ':'."""
    parts = _VARIABLE.split(template)
    return re.compile(
        "".join(f"(?P<{part}>[^/:]+)" if i % 2 else re.escape(part) for i, part in enumerate(parts)) + r"\Z"
    )


def template_variables(template: str) -> list[str]:
    return _VARIABLE.findall(template)
