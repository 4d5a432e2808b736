"""`/auth` as the OpenAPI document has it."""

import msgspec

from control_plane.account.edge import OPERATIONS, Operation
from control_plane.api.openapi import Json, Part, content, reference


def described() -> Part:
    kinds = {kind for one in OPERATIONS for kind in (one.takes, one.gives) if kind is not None}
    _, schemas = msgspec.json.schema_components(
        sorted(kinds, key=lambda k: k.__name__), ref_template=reference("{name}")
    )
    paths: dict[str, Json] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.verb.lower()] = _operation(one)
    return Part(paths, schemas)


def _operation(one: Operation) -> Json:
    given: Json = {"$ref": reference(one.gives.__name__)}
    operation: Json = {
        "operationId": one.id,
        "tags": ["auth"],
        "summary": one.summary,
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
            for _ in one.path.split("{")[1:]
        ],
        "responses": {
            "200": content("application/json", given, "Done"),
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }
    if one.takes is not None:
        taken = {"application/json": {"schema": {"$ref": reference(one.takes.__name__)}}}
        operation["requestBody"] = {"required": True, "content": taken}
    if one.is_open:
        operation["security"] = []
    return operation
