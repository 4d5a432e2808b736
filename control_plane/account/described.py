"""`/auth` as the OpenAPI document has it."""

import msgspec

from control_plane.account.edge import OPERATIONS, Operation
from control_plane.api.openapi import Json, Part, content, reference
from control_plane.oauth.agents import AgentToken, AgentTokenRequest
from control_plane.oauth.edge import AGENTS_PATH


def described() -> Part:
    """With `/auth/a2a/token`, which refuses as token endpoints do."""
    kinds = {AgentTokenRequest, AgentToken}
    kinds |= {kind for one in OPERATIONS for kind in (one.takes, one.gives) if kind is not None}
    _, schemas = msgspec.json.schema_components(
        sorted(kinds, key=lambda k: k.__name__), ref_template=reference("{name}")
    )
    paths: dict[str, Json] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.verb.lower()] = _operation(one)
    paths[AGENTS_PATH] = {"post": _agents()}
    return Part(paths, schemas)


def _agents() -> Json:
    fields: Json = {name: {"type": "string"} for name in ("error", "error_description")}
    refused: Json = {"type": "object", "required": ["error"], "properties": fields}
    taken = {"application/json": {"schema": {"$ref": reference(AgentTokenRequest.__name__)}}}
    return {
        "operationId": "narrowAgentToken",
        "tags": ["auth"],
        "summary": "Exchange an agent's key or token for a narrower, short-lived one",
        "parameters": [],
        "requestBody": {"required": True, "content": taken},
        "responses": {
            "200": content("application/json", {"$ref": reference(AgentToken.__name__)}, "Done"),
            "default": content("application/json", refused, "Refused (RFC 6749 section 5.2)"),
        },
    }


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
