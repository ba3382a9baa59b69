"""Errors, compared with the contract's table of them."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from mini_agent import errors
from mini_agent.http import exception_handlers

CONTRACT = {
    # status and code, and the names in `details`
    (401, "MISSING_API_KEY"): set(),
    (401, "INVALID_API_KEY"): set(),
    (403, "TENANT_ISOLATION_VIOLATION"): {"resource_type", "resource_id"},
    (403, "CROSS_TENANT_TOOL"): {"tool_ids"},
    (403, "INSUFFICIENT_SCOPE"): {"required_scope"},
    (404, "TOOL_NOT_FOUND"): {"tool_id"},
    (404, "AGENT_NOT_FOUND"): {"agent_id"},
    (404, "EXECUTION_NOT_FOUND"): {"execution_id"},
    (404, "STEP_NOT_FOUND"): {"execution_id", "step"},
    (404, "SECRET_NOT_FOUND"): {"name"},
    (402, "BUDGET_EXCEEDED"): {"budget", "limit", "left", "renews_at"},
    (404, "KEY_NOT_FOUND"): {"key_id"},
    (404, "TENANT_NOT_FOUND"): {"tenant_id"},
    (404, "ROUTE_NOT_FOUND"): set(),
    (405, "METHOD_NOT_ALLOWED"): set(),
    (409, "DUPLICATE_TOOL_NAME"): {"name"},
    (409, "DUPLICATE_AGENT_NAME"): {"name"},
    (409, "TOOL_IN_USE"): {"dependent_agents"},
    (409, "EXECUTION_ALREADY_FINISHED"): {"execution_id", "status"},
    (409, "APPROVAL_CLOSED"): {"execution_id", "step", "decision"},
    (409, "TENANT_PROTECTED"): {"tenant_id"},
    (409, "TENANT_DELETED"): {"tenant_id", "delete_after"},
    (409, "IDEMPOTENCY_KEY_IN_USE"): set(),
    (413, "PAYLOAD_TOO_LARGE"): {"limit_bytes"},
    (415, "UNSUPPORTED_MEDIA_TYPE"): set(),
    (422, "VALIDATION_ERROR"): {"errors"},
    (422, "IDEMPOTENCY_KEY_REUSED"): set(),
    (422, "UNSUPPORTED_MODEL"): {"model", "supported_models"},
    (429, "RATE_LIMIT_EXCEEDED"): {"limit", "window_seconds", "retry_after_seconds"},
    (429, "TOO_MANY_RUNS"): {"limit"},
    (500, "INTERNAL_SERVER_ERROR"): {"request_id"},
    (502, "MODEL_PROVIDER_FAILED"): {"execution_id", "reason"},
    (503, "SERVICE_UNAVAILABLE"): {"reason"},
    (504, "DEADLINE_EXCEEDED"): set(),
}


def subclasses(of: type[errors.ApiError]) -> Iterator[type[errors.ApiError]]:
    for error in of.__subclasses__():
        yield error
        yield from subclasses(error)


CLASSES = sorted(
    (error for error in subclasses(errors.ApiError) if "error_code" in vars(error)),
    key=lambda error: error.__name__,
)


def test_the_errors_are_those_of_the_contract() -> None:
    found = {(error.status, error.error_code): set(error.example) for error in CLASSES}
    assert found == CONTRACT


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_answered_in_the_one_shape(error: type[errors.ApiError]) -> None:
    answer = exception_handlers.render(error(**error.example))
    assert answer.status_code == error.status
    assert json.loads(bytes(answer.body)) == {
        "error_code": error.error_code,
        "message": error.message,
        "details": error.example,
    }


def test_a_route_declares_errors_of_one_status_together() -> None:
    declared = errors.responses(errors.MissingApiKey, errors.ToolNotFound, errors.InvalidApiKey)
    assert {status: response["x-error-codes"] for status, response in declared.items()} == {
        401: ["MISSING_API_KEY", "INVALID_API_KEY"],
        404: ["TOOL_NOT_FOUND"],
    }


@pytest.mark.parametrize(
    "unexpected", [ValueError("secret"), KeyError("secret"), HTTPException(418, "secret")]
)
def test_an_unexpected_exception_tells_nothing_of_itself(unexpected: Exception) -> None:
    answer = exception_handlers.render(exception_handlers.translate(unexpected, "request-1"))
    assert answer.status_code == 500
    assert json.loads(bytes(answer.body))["details"] == {"request_id": "request-1"}
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    ("exception", "error"),
    [
        (HTTPException(404), errors.RouteNotFound),
        (HTTPException(405), errors.MethodNotAllowed),
        (HTTPException(400, "There was an error parsing the body"), errors.ValidationFailed),
        (RequestValidationError([]), errors.ValidationFailed),
    ],
)
def test_what_the_framework_raises_becomes_an_error_of_the_contract(
    exception: Exception, error: type[errors.ApiError]
) -> None:
    assert type(exception_handlers.translate(exception, "request-1")) is error


def test_details_may_hold_ids_and_names_that_utf_8_cannot_hold_are_replaced() -> None:
    known = errors.ToolNotFound(tool_id=UUID(int=0))
    assert json.loads(bytes(exception_handlers.render(known).body))["details"] == {
        "tool_id": str(UUID(int=0))
    }
    half: dict[str, Any] = {"loc": ("body", "\ud800"), "msg": "no \udfff", "type": "missing"}
    refused = exception_handlers.render(
        exception_handlers.translate(RequestValidationError([half]), "")
    )
    [shown] = json.loads(bytes(refused.body))["details"]["errors"]
    assert shown == {"field": "body.?", "message": "no ?", "type": "missing"}


def test_a_client_is_told_when_to_come_back() -> None:
    answer = exception_handlers.render(errors.ServiceUnavailable(reason="database"))
    assert answer.headers["retry-after"] == "5"
    assert "retry-after" not in exception_handlers.render(errors.RouteNotFound()).headers
