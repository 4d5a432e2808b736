"""The OpenAPI document: valid, complete, and true of what the API does."""

import json
import re

import pytest
from jsonschema import Draft202012Validator

from core.kinds import KINDS, PLURALS
from tests.harness.control_plane import Plane

Json = dict[str, object]


@pytest.fixture
async def document(plane: Plane) -> Json:
    answer = await plane.http("GET", "/openapi.json", token="")
    assert answer.headers["content-type"] == "application/json"
    return answer.json


def nodes(value: object) -> list[Json]:
    """Every object in the document."""
    if isinstance(value, dict):
        return [value, *(n for child in value.values() for n in nodes(child))]
    return [n for child in value for n in nodes(child)] if isinstance(value, list) else []


def operations(document: Json) -> list[tuple[str, str, Json]]:
    paths = document["paths"]
    assert isinstance(paths, dict)
    return [(path, verb, operation) for path, item in paths.items() for verb, operation in item.items()]


async def test_it_has_the_shape_of_openapi_3_1(document: Json) -> None:
    assert document["openapi"] == "3.1.0"
    assert set(document) == {"openapi", "info", "servers", "security", "paths", "components"}
    info = document["info"]
    assert isinstance(info, dict)
    assert info["title"]
    assert info["version"]
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for path, verb, operation in operations(document):
        assert verb in ("get", "put", "post", "delete")
        declared = [p["name"] for p in operation["parameters"] if p["in"] == "path"]  # type: ignore[attr-defined,index]
        assert declared == re.findall(r"\{(\w+)\}", path)
        assert all(p["required"] for p in operation["parameters"] if p["in"] == "path")  # type: ignore[attr-defined,index]
        responses = operation["responses"]
        assert isinstance(responses, dict)
        assert set(responses) == {"200", "default"}
        assert ("requestBody" in operation) == (verb in ("put", "post"))


async def test_every_reference_leads_somewhere(document: Json) -> None:
    for node in nodes(document):
        target = node.get("$ref")
        if isinstance(target, str):
            found: object = document
            for step in target.removeprefix("#/").split("/"):
                assert isinstance(found, dict)
                found = found[step]
            assert found


async def test_every_schema_is_a_json_schema_and_each_kind_has_one(document: Json) -> None:
    components = document["components"]
    assert isinstance(components, dict)
    for schema in components["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for kind in KINDS:
        assert {kind, f"{kind}Spec"} <= set(components["schemas"])
        with_tenant = f"/v1/tenants/{{tenant}}/{PLURALS[kind]}/{{name}}"
        path = "/v1/tenants/{name}" if kind == "Tenant" else with_tenant
        assert set(document["paths"][path]) == {"get", "put", "delete"}  # type: ignore[index]


async def test_what_the_api_answers_is_what_the_document_says(plane: Plane, document: Json) -> None:
    await plane.http("PUT", "/v1/tenants/acme", {"spec": {"display_name": "Acme"}})
    spec = {"transport": {"type": "stdio", "command": ["x"]}, "tools": {"t": {"risk": "high"}}}
    applied = await plane.http("PUT", "/v1/tenants/acme/servers/s", {"spec": spec, "labels": {"a": "b"}})
    answers = {
        "ServerApplyResponse": applied.json,
        "Server": (await plane.http("GET", "/v1/tenants/acme/servers/s")).json,
        "ServerListResponse": (await plane.http("GET", "/v1/tenants/acme/servers")).json,
        "TenantListResponse": (await plane.http("GET", "/v1/tenants")).json,
        "ListAuditResponse": (await plane.http("GET", "/v1/tenants/acme/audit")).json,
        "VerifyAuditResponse": (await plane.http("GET", "/v1/tenants/acme/audit:verify")).json,
        "Problem": (await plane.http("PUT", "/v1/tenants/acme/servers/s", {"spec": {}})).json,
    }
    for name, answer in answers.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        assert [e.message for e in Draft202012Validator(schema).iter_errors(answer)] == [], (name, json.dumps(answer))


async def test_a_spec_the_api_refuses_for_its_shape_the_document_refuses_too(plane: Plane, document: Json) -> None:
    await plane.http("PUT", "/v1/tenants/acme", {"spec": {}})
    schema = {"$ref": "#/components/schemas/ServerSpec", "components": document["components"]}
    validator = Draft202012Validator(schema)
    for spec, fine in (
        ({"transport": {"type": "http", "url": "https://mcp.example.com"}}, True),
        ({"transport": {"type": "http", "url": "https://mcp.example.com"}, "extra": 1}, False),
        ({"transport": {"type": "carrier-pigeon"}}, False),
        ({}, False),
    ):
        answer = await plane.http("PUT", "/v1/tenants/acme/servers/s", {"spec": spec})
        assert (answer.status == 200) is fine
        assert validator.is_valid(spec) is fine
