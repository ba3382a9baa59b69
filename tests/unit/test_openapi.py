"""The OpenAPI document."""

import importlib
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel

from functions.system import docs
from mini_agent import executions
from mini_agent.identity import api_keys, audit
from scripts import openapi

DOCUMENT = json.loads(openapi.TARGET.read_text())
MADE = openapi.document()  # here, since the rooms' event loops begin with a socket pair
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
ENDPOINTS = {
    # the endpoints of the specification, each with its scope and the answers it can give besides
    # those that all give
    "POST /api/v1/tools": ("tools:write", {201, 409, 415}),
    "GET /api/v1/tools": ("tools:read", {200}),
    "GET /api/v1/tools/{tool_id}": ("tools:read", {200, 404}),
    "PUT /api/v1/tools/{tool_id}": ("tools:write", {200, 404, 409, 415}),
    "DELETE /api/v1/tools/{tool_id}": ("tools:write", {204, 404, 409}),
    "POST /api/v1/agents": ("agents:write", {201, 409, 415}),
    "GET /api/v1/agents": ("agents:read", {200}),
    "GET /api/v1/agents/{agent_id}": ("agents:read", {200, 404}),
    "PUT /api/v1/agents/{agent_id}": ("agents:write", {200, 404, 409, 415}),
    "DELETE /api/v1/agents/{agent_id}": ("agents:write", {204, 404}),
    "POST /api/v1/agents/{agent_id}/run": ("runs:write", {200, 202, 402, 409, 415, 502}),
    "GET /api/v1/models": ("runs:read", {200}),
    "GET /api/v1/executions/{execution_id}": ("runs:read", {200, 404}),
    "GET /api/v1/executions/{execution_id}/steps": ("runs:read", {200, 404}),
    "GET /api/v1/executions/{execution_id}/events": ("runs:read", {200, 204, 404}),
    "POST /api/v1/executions/{execution_id}/cancel": ("runs:write", {200, 404, 409}),
    "POST /api/v1/executions/{execution_id}/approvals/{step}": (
        "runs:write",
        {200, 404, 409, 415},
    ),
    "PUT /api/v1/secrets/{name}": ("secrets:write", {200, 415}),
    "GET /api/v1/secrets": ("secrets:read", {200}),
    "DELETE /api/v1/secrets/{name}": ("secrets:write", {204, 404}),
    "GET /api/v1/history": ("history:read", {200}),
    "GET /api/v1/history/export": ("history:read", {200}),
    "GET /api/v1/history/{execution_id}": ("history:read", {200, 404}),
    "GET /api/v1/usage": ("history:read", {200}),
    "POST /api/v1/keys": ("keys:write", {201, 409, 415}),
    "GET /api/v1/keys": ("keys:write", {200}),
    "GET /api/v1/keys/{key_id}": ("keys:write", {200, 404}),
    "POST /api/v1/keys/{key_id}/rotate": ("keys:write", {201, 404, 409, 415}),
    "DELETE /api/v1/keys/{key_id}": ("keys:write", {204, 404}),
    "POST /api/v1/admin/tenants": ("platform:admin", {201, 409, 415}),
    "GET /api/v1/admin/tenants": ("platform:admin", {200}),
    "GET /api/v1/admin/tenants/{tenant_id}": ("platform:admin", {200, 404}),
    "PUT /api/v1/admin/tenants/{tenant_id}": ("platform:admin", {200, 404, 409, 415}),
    "DELETE /api/v1/admin/tenants/{tenant_id}": ("platform:admin", {200, 404, 409}),
    "POST /api/v1/admin/tenants/{tenant_id}/suspend": ("platform:admin", {200, 404, 409}),
    "POST /api/v1/admin/tenants/{tenant_id}/resume": ("platform:admin", {200, 404, 409}),
    "POST /api/v1/admin/tenants/{tenant_id}/keys": ("platform:admin", {201, 404, 409, 415}),
    "GET /api/v1/admin/tenants/{tenant_id}/usage": ("platform:admin", {200, 404}),
    "GET /api/v1/audit": ("audit:read", {200}),
    "GET /api/v1/admin/audit": ("platform:admin", {200}),
}
ALL = {401, 403, 405, 413, 422, 429, 500, 503, 504}
PUBLIC = {"GET /health": {200, 405, 500}, "GET /ready": {200, 405, 500, 503}}


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    return openapi.resolve(node, DOCUMENT)


def answers() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, operation in operations():
        for status, answer in operation["responses"].items():
            yield name, status, resolved(answer)


def test_the_file_is_what_the_code_says_or_else_run_make_openapi() -> None:
    assert MADE == DOCUMENT


def test_the_document_has_every_endpoint_with_its_scope_and_every_status_it_can_answer() -> None:
    found = {
        name: (
            [scope for needed in operation["security"] for scope in needed["ApiKey"]],
            {int(status) for status in operation["responses"]},
        )
        for name, operation in operations()
    }
    expected = {name: ([scope], ALL | own) for name, (scope, own) in ENDPOINTS.items()}
    assert found == expected | {name: ([], own) for name, own in PUBLIC.items()}


def test_public_routes_say_that_they_need_no_key() -> None:
    public = {name for name, operation in operations() if operation["security"] == []}
    assert public == PUBLIC.keys()


def test_the_scopes_of_the_routes_are_those_that_keys_can_have() -> None:
    assert {scope for scope, _ in ENDPOINTS.values()} == {*api_keys.SCOPES, api_keys.OPERATOR_SCOPE}


def test_the_key_goes_into_the_header_of_the_contract() -> None:
    [scheme] = DOCUMENT["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-KEY")


def test_every_tag_is_declared_and_described_and_used() -> None:
    declared = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert all(declared.values())
    assert {tag for _, operation in operations() for tag in operation["tags"]} == {*declared}


def test_every_schema_has_a_plain_public_name() -> None:
    assert {name for name in SCHEMAS if not re.fullmatch("[A-Z][A-Za-z]+", name)} == set()


def test_a_schema_without_a_name_of_its_own_is_refused() -> None:
    for name in ("functions__history__models__Execution", "Tool-Input", "Page_Tool_"):
        with pytest.raises(ValueError, match=name):
            openapi.check_names({"Tool": {}, name: {}})


def test_every_error_has_an_example_of_the_right_shape_and_status() -> None:
    shown = set()
    for _, status, answer in answers():
        if int(status) < 400:
            continue
        content = answer["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
        for code, example in content["examples"].items():
            error = openapi.ERRORS[code]
            assert f"`{code}`: " in answer["description"]
            assert error.status == int(status)
            assert example["value"] == {
                "error_code": code,
                "message": error.message,
                "details": error.example,
            }
            shown.add(code)
    # What no operation answers: a path that is not there.
    assert shown == {*openapi.ERRORS} - {"ROUTE_NOT_FOUND"}


def test_errors_and_headers_are_described_once() -> None:
    for _, operation in operations():
        for status, answer in operation["responses"].items():
            assert ("$ref" in answer) == (int(status) >= 400)
            for name, header in resolved(answer)["headers"].items():
                assert resolved(header)["description"]
                assert "$ref" in header or name in {"X-Next-Cursor", "Link"}  # of one route alone


def test_the_document_is_small() -> None:
    assert len(docs.minify(openapi.TARGET.read_bytes())) < 200_000


def references(node: object) -> set[str]:
    return openapi.references(node, DOCUMENT)


def conforms(schema: dict[str, Any], value: object) -> bool:
    """Tell whether a value is valid against a schema of the document."""
    checked = {**schema, "components": DOCUMENT["components"]}
    return jsonschema_rs.validator_for(checked, validate_formats=True).is_valid(value)


def test_every_example_of_a_schema_is_valid() -> None:
    for name, schema in SCHEMAS.items():
        for example in schema.get("examples", []):
            assert conforms({"$ref": f"#/components/schemas/{name}"}, example), name
        for field, value in schema.get("properties", {}).items():
            for example in value.get("examples", []):
                assert conforms(value, example), f"{name}.{field}"


def test_every_example_of_an_answer_is_valid() -> None:
    for name, status, answer in answers():
        for content in answer.get("content", {}).values():
            for example in content.get("examples", {}).values():
                assert conforms(content["schema"], example["value"]), f"{name} {status}"


def test_the_stream_has_a_schema_for_each_event_and_shows_two() -> None:
    stream = DOCUMENT["paths"]["/api/v1/executions/{execution_id}/events"]["get"]
    content = stream["responses"]["200"]["content"]["text/event-stream"]
    assert references(content) >= {"StepStartedEvent", "StepFinishedEvent", "RunFinishedEvent"}
    [_, *shown] = content["example"].strip().split("\n\n")
    assert len(shown) == 2
    for lines in shown:
        event = dict(line.split(": ", 1) for line in lines.splitlines())
        decoded = {
            "id": int(event["id"]),
            "event": event["event"],
            "data": json.loads(event["data"]),
        }
        assert conforms(content["schema"]["contentSchema"], decoded)
        assert not conforms(content["schema"]["contentSchema"], decoded | {"data": {}})


def test_a_total_is_optional_and_has_no_default() -> None:
    pages = [schema for name, schema in SCHEMAS.items() if name.endswith("Page")]
    assert len(pages) == 8
    for page in pages:
        assert "total" not in page["required"]
        assert "default" not in page["properties"]["total"]


def test_what_may_grow_is_a_plain_string_in_what_clients_read() -> None:
    """A generated client would fail on a value that its enum lacks."""
    read = references([operation["responses"] for _, operation in operations()])
    assert [name for name in read if '"enum"' in json.dumps(SCHEMAS[name])] == []
    assert "`waiting_approval`" in SCHEMAS["Execution"]["properties"]["status"]["description"]
    for model, field in (
        ("RunCreate", "model"),
        ("ApiKeyCreate", "scopes"),
        ("TenantKeyCreate", "scopes"),
    ):
        assert '"enum"' not in json.dumps(SCHEMAS[model]["properties"][field])


def test_every_answer_declares_its_headers() -> None:
    for name, status, answer in answers():
        assert "X-Request-Id" in answer["headers"]
        posted = name.startswith("POST")
        assert ("Retry-After" in answer["headers"]) == (
            status in {"429", "503"} or (posted and status == "409")
        )
        assert ("Idempotency-Replayed" in answer["headers"]) == (posted and status < "300")
        assert ("Location" in answer["headers"]) == (status in {"201", "202"})
        assert ("Allow" in answer["headers"]) == (status == "405")
        limited = name in ENDPOINTS and status not in {"401", "413"}
        assert ("X-RateLimit-Remaining" in answer["headers"]) == limited


def test_every_post_takes_an_idempotency_key_and_no_other_operation_does() -> None:
    for name, operation in operations():
        parameters = [resolved(p) for p in operation.get("parameters", [])]
        taken = {p["name"]: p["required"] for p in parameters if p["in"] == "header"}
        assert ("Idempotency-Key" in taken) == name.startswith("POST")
        assert not taken.get("Idempotency-Key")


def models() -> list[type[BaseModel]]:
    """Return the rooms' models that show examples."""
    rooms = [path.parent.name for path in (openapi.ROOT / "functions").glob("*/models.py")]
    modules = [importlib.import_module(f"functions.{room}.models") for room in rooms]
    modules += [api_keys, audit, executions]
    found = {
        thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, type)
        and issubclass(thing, BaseModel)
        and isinstance(thing.model_config.get("json_schema_extra"), dict)
    }
    return sorted(found, key=lambda model: model.__name__)


@pytest.mark.parametrize("model", models())
def test_every_example_is_what_its_model_takes_and_gives(model: type[BaseModel]) -> None:
    extra = model.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    examples = extra["examples"]
    assert isinstance(examples, list)
    for example in examples:
        told = model.model_validate_json(json.dumps(example)).model_dump_json(exclude_unset=True)
        assert json.loads(told) == example


def test_every_body_and_every_answer_of_an_endpoint_has_an_example() -> None:
    schemas = {model.__name__ for model in models()}
    used = {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
        for _, operation in operations()
        if "requestBody" in operation
    }
    assert used == {
        "ToolCreate",
        "ToolUpdate",
        "AgentCreate",
        "AgentUpdate",
        "RunCreate",
        "SecretValue",
        "ApprovalDecision",
        "ApiKeyCreate",
        "ApiKeyRotate",
        "TenantCreate",
        "TenantUpdate",
        "TenantKeyCreate",
    }
    shown = {"Tool", "Agent", "Run", "Execution", "ApiKey", "NewApiKey", "Tenant", "NewTenant"}
    assert used | shown | {"AuditEntry"} <= schemas
