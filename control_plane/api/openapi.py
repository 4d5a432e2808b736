"""The OpenAPI 3.1 document: paths from the RPC table, one schema per kind from its Struct.

`{kind}` is written out per kind, so that a generated client has `servers` with a typed spec, not a free-form object.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from google.protobuf.descriptor import FieldDescriptor

from control_plane.api.jsonwire import template_variables
from control_plane.api.rpc import Binding, Field, MessageType, Rpc
from core.kinds import KINDS, PLATFORM_SCOPE, PLURALS

Json = dict[str, object]

_REF = "#/components/schemas/"
_WITHOUT_TENANT = PLATFORM_SCOPE | {"ApiKey"}
"""Kinds that are reached without a tenant in the path; all but the platform's own are reached with one."""

_WELL_KNOWN: dict[str, Json] = {
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
}
_SCALARS: dict[int, Json] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "format": "byte"},
    FieldDescriptor.TYPE_INT64: {"type": "integer", "format": "int64"},
    FieldDescriptor.TYPE_UINT64: {"type": "integer", "format": "uint64"},
}

PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457. `errors` lists everything wrong with the request, at once.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "rule"],
                "properties": {"path": {"type": "string"}, "rule": {"type": "string"}},
            },
        },
    },
}


class Part(NamedTuple):
    """What is no RPC."""

    paths: Mapping[str, Json]
    schemas: Mapping[str, Json]


def document(rpcs: Sequence[Rpc], also: Part | None = None) -> Json:
    schemas: Json = dict(_spec_schemas())
    schemas["Problem"] = PROBLEM
    paths: dict[str, Json] = {}
    if also is not None:
        assert not schemas.keys() & also.schemas.keys(), "two things of one name"
        paths |= also.paths
        schemas |= also.schemas
    for rpc in rpcs:
        _add_message(schemas, rpc.response.DESCRIPTOR)
        for binding in rpc.bindings:
            for path, kind in _expanded(binding):
                paths.setdefault(path, {})[binding.verb.lower()] = _operation(rpc, binding, path, kind, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Toolgate admin API",
            "version": "1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Problem": content("application/problem+json", {"$ref": _REF + "Problem"}, "Refused")},
        },
    }


def reference(name: str) -> str:
    """To a schema."""
    return _REF + name


def spec_name(kind: str) -> str:
    return f"{kind}Spec"


def _spec_schemas() -> Iterator[tuple[str, Json]]:
    """One `<Kind>Spec` per kind and the Structs inside them, under their own names."""
    _, parts = msgspec.json.schema_components(KINDS.values(), schema_hook=_anything, ref_template=_REF + "{name}")
    names = {_REF + kind: _REF + spec_name(kind) for kind in KINDS}
    for name, schema in parts.items():
        yield (spec_name(name) if name in KINDS else name), _renamed(schema, names)


def _anything(kind: type) -> Json:
    """`object` is JSON of any shape, which msgspec knows by another name."""
    if kind is object:
        return {"description": "Any JSON"}
    raise NotImplementedError


def _renamed(node: object, names: dict[str, str]) -> Json:
    result = _rename(node, names)
    assert isinstance(result, dict)
    return result


def _rename(node: object, names: dict[str, str]) -> object:
    if isinstance(node, dict):
        return {k: _rename(v, names) for k, v in node.items()}
    if isinstance(node, list):
        return [_rename(v, names) for v in node]
    return names.get(node, node) if isinstance(node, str) else node


def _expanded(binding: Binding) -> Iterator[tuple[str, str | None]]:
    """(path, kind) for each kind the template's `{kind}` may stand for; the template itself if it has none."""
    if "{kind}" not in binding.template:
        yield binding.template, None
        return
    for kind in KINDS:
        with_tenant = "{tenant}" in binding.template
        if (with_tenant and kind not in PLATFORM_SCOPE) or (not with_tenant and kind in _WITHOUT_TENANT):
            yield binding.template.replace("{kind}", PLURALS[kind]), kind


def _operation(rpc: Rpc, binding: Binding, path: str, kind: str | None, schemas: Json) -> Json:
    parameters: list[Json] = [
        {"name": v, "in": "path", "required": True, "schema": {"type": "string"}} for v in template_variables(path)
    ]
    settled = {*template_variables(binding.template), "kind"} if kind else set(template_variables(binding.template))
    rest = [f for f in rpc.request.DESCRIPTOR.fields if f.name not in settled]
    answer = _answer(rpc, kind, schemas)
    operation: Json = {
        "operationId": _operation_id(rpc, binding, kind),
        "tags": [PLURALS[kind] if kind else rpc.service.rpartition(".")[2].lower()],
        "summary": f"{rpc.name} {kind or ''}".strip(),
        "responses": {"200": answer, "default": {"$ref": "#/components/responses/Problem"}},
    }
    if binding.has_body:
        body = _object(rest, kind, schemas)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    else:
        parameters += [{"name": f.name, "in": "query", "schema": _field(f, schemas)} for f in rest]
    operation["parameters"] = parameters
    return operation


def _operation_id(rpc: Rpc, binding: Binding, kind: str | None) -> str:
    service = rpc.service.rpartition(".")[2]
    name = f"{rpc.name[0].lower()}{rpc.name[1:]}{kind or service}"
    needs_suffix = "{tenant}" not in binding.template and len(rpc.bindings) > 1 and kind not in PLATFORM_SCOPE
    return f"{name}OfPlatform" if needs_suffix else name


def _answer(rpc: Rpc, kind: str | None, schemas: Json) -> Json:
    schema: Json = {"$ref": _REF + rpc.response.DESCRIPTOR.name}
    if kind is not None and rpc.response.DESCRIPTOR.name in ("Resource", "ListResponse", "ApplyResponse"):
        schema = _typed(rpc.response.DESCRIPTOR, kind, schemas)
    media = "application/x-ndjson" if rpc.streaming is not None else "application/json"
    return content(media, schema, "One per line" if rpc.streaming is not None else "Done")


def _typed(message: MessageType, kind: str, schemas: Json) -> Json:
    """A message that holds resources, with the kind's own spec: `Server`, `ServerListResponse`."""
    name = kind if message.name == "Resource" else kind + message.name
    if name not in schemas:
        schemas[name] = {}
        schemas[name] = _object(message.fields, kind, schemas)
    return {"$ref": _REF + name}


def _object(fields: Sequence[Field], kind: str | None, schemas: Json) -> Json:
    properties: Json = {}
    for field in fields:
        if field.full_name == "toolgate.v1.IssueKeyRequest.spec":
            properties[field.name] = {"$ref": _REF + spec_name("ApiKey")}
        elif kind is not None and field.name == "spec":
            properties[field.name] = {"$ref": _REF + spec_name(kind)}
        elif kind is not None and field.message_type is not None and field.message_type.name == "Resource":
            typed = _typed(field.message_type, kind, schemas)
            properties[field.name] = {"type": "array", "items": typed} if field.is_repeated else typed
        else:
            properties[field.name] = _field(field, schemas)
    required = ["spec"] if kind is not None and "spec" in properties else []
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _field(field: Field, schemas: Json) -> Json:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _field(message.fields_by_name["value"], schemas)}
    if field.enum_type is not None:
        one: Json = {"type": "string", "enum": [v.name for v in field.enum_type.values]}
    elif message is not None:
        one = _WELL_KNOWN.get(message.full_name) or _add_message(schemas, message)
    else:
        one = _SCALARS[field.type]
    return {"type": "array", "items": one} if field.is_repeated else one


def _add_message(schemas: Json, message: MessageType) -> Json:
    if message.name not in schemas:
        schemas[message.name] = {}
        schemas[message.name] = _object(message.fields, None, schemas)
    return {"$ref": _REF + message.name}


def content(media: str, schema: Json, description: str) -> Json:
    return {"description": description, "content": {media: {"schema": schema}}}
