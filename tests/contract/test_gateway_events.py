"""The local gateway passes a request on as API Gateway does: to which function, as which event."""

import json

import pytest

from tests.contract.gateway_api import GatewayApi


def test_the_event_tells_the_whole_request(api: GatewayApi) -> None:
    event = api.event(
        "POST",
        "/echo/a%2Fb%20c?x=1&x=2&X=3&empty=&e=%C3%A9",
        headers=[("X-API-KEY", "k"), ("x-many", "1"), ("X-Many", "2"), ("User-Agent", "me")],
        content="körper",
    )
    assert event["resource"] == "/echo/{id}"
    assert event["path"] == "/echo/a%2Fb%20c"
    assert event["pathParameters"] == {"id": "a/b c"}
    assert event["httpMethod"] == "POST"
    assert event["queryStringParameters"] == {"x": "2", "X": "3", "empty": "", "e": "é"}
    assert event["multiValueQueryStringParameters"]["x"] == ["1", "2"]
    assert event["headers"]["x-many"] == "2"
    assert event["multiValueHeaders"]["x-many"] == ["1", "2"]
    assert event["headers"]["X-Amzn-Trace-Id"].startswith("Root=1-")
    assert event["body"] == "körper"
    assert event["isBase64Encoded"] is False
    assert event["stageVariables"] is None
    context = event["requestContext"]
    assert context["path"] == event["path"]
    assert context["resourcePath"] == "/echo/{id}"
    assert context["stage"] == "live"
    assert context["identity"] == {"sourceIp": "127.0.0.1", "userAgent": "me"}
    assert context["authorizer"]["principalId"] == "k"


def test_what_a_request_lacks_is_null(api: GatewayApi) -> None:
    event = api.event("GET", "/open")
    for name in ("queryStringParameters", "multiValueQueryStringParameters", "pathParameters"):
        assert event[name] is None
    assert event["body"] is None
    assert "authorizer" not in event["requestContext"]


def test_header_names_arrive_as_they_were_sent(api: GatewayApi) -> None:
    _, _, body = api.raw(b"GET /open HTTP/1.1\r\nHost: h\r\nx-OdD-cAse: 1\r\n\r\n")
    assert json.loads(body)["event"]["headers"]["x-OdD-cAse"] == "1"


def test_a_function_gets_its_own_environment_and_nothing_of_ours(
    api: GatewayApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "1")
    seen = api.http.get("/open").json()
    environment = seen["environment"]
    assert environment["STAGE"] == "a us-east-1"
    assert environment["NUMBER"] == "7"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "map-echo"
    assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert "SECRET_OF_THE_PARENT" not in environment
    assert not [name for name in environment if name.startswith("MAP_")]
    assert seen["context"]["aws_request_id"] == seen["event"]["requestContext"]["requestId"]
    assert seen["context"]["function_name"] == "map-echo"
    assert seen["context"]["invoked_function_arn"].endswith(":function:map-echo")
    assert 0 < seen["context"]["remaining"] <= 3000
    assert environment["_X_AMZN_TRACE_ID"] == seen["event"]["headers"]["X-Amzn-Trace-Id"]


@pytest.mark.parametrize(
    ("path", "resource", "parameters"),
    [
        ("/echo", "/echo", None),
        ("/echo/", "/echo", None),
        ("/echo/fixed", "/echo/fixed", None),
        ("/echo/other", "/echo/{id}", {"id": "other"}),
        ("/echo/..%2f..%2fx", "/echo/{id}", {"id": "../../x"}),
        ("/open/a/b", "/open/{proxy+}", {"proxy": "a/b"}),
    ],
)
def test_the_most_specific_resource_is_called(
    api: GatewayApi, path: str, resource: str, parameters: dict[str, str] | None
) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: h\r\nX-API-KEY: k\r\n\r\n"
    event = json.loads(api.raw(request.encode())[2])["event"]
    assert (event["resource"], event["pathParameters"]) == (resource, parameters)
    assert event["path"] == path


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/nothing"), ("GET", "/echo/a/b"),
                         ("GET", "/obey/x"), ("POST", "/echo/fixed")]
)  # fmt: skip
def test_an_unknown_path_or_method_is_a_missing_authentication_token(
    api: GatewayApi, method: str, path: str
) -> None:
    answer = api.http.request(method, path, headers={"X-API-KEY": "k"})
    assert (answer.status_code, answer.json()) == (403, {"message": "Missing Authentication Token"})
