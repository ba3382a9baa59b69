"""What API Gateway answers by itself has the platform's shape of errors."""

import json
import re
from typing import Any

import pytest

from tests.template.templates import (
    API,
)

RESPONSES: dict[str, Any] = API["Properties"]["Body"]["x-amazon-apigateway-gateway-responses"]
STATUS = {
    "MISSING_API_KEY": 401,
    "INVALID_API_KEY": 401,
    "ROUTE_NOT_FOUND": 404,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "VALIDATION_ERROR": 422,
    "RATE_LIMIT_EXCEEDED": 429,
    "INTERNAL_SERVER_ERROR": 500,
    "SERVICE_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


@pytest.mark.parametrize("kind", RESPONSES)
def test_api_gateways_own_answer_has_our_shape_and_status(kind: str) -> None:
    response = RESPONSES[kind]
    [(content_type, template)] = response["responseTemplates"].items()
    rendered = template.replace("$context.error.messageString", '"a message"')
    error = json.loads(re.sub(r"\$context\.[\w.]+", "value", rendered))
    assert content_type == "application/json"
    assert list(error) == ["error_code", "message", "details"]
    assert isinstance(error["details"], dict)
    assert int(response["statusCode"]) == STATUS[error["error_code"]]
    headers = response["responseParameters"]
    assert headers["gatewayresponse.header.X-Request-Id"] == "context.requestId"
    origin = headers["gatewayresponse.header.Access-Control-Allow-Origin"]
    assert origin == {"Fn::Sub": "'${CorsOrigin}'"}  # a page may read refusals too
    if STATUS[error["error_code"]] in {429, 503}:
        assert "gatewayresponse.header.Retry-After" in headers


def test_whatever_api_gateway_answers_falls_under_one_of_ours() -> None:
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} <= set(RESPONSES)
