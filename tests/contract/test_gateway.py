"""The local gateway keeps the rules of API Gateway and Lambda, shown with handlers of its own."""

import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from local import template
from local.gateway import Gateway, GatewayError
from local.proxy import Request
from tests.contract.tiny import TEMPLATE, Api, MakeApi

ROOT = Path(__file__).parents[2]


# ── The event ───────────────────────────────────────────────────────────────────────────────────
def test_the_event_tells_the_whole_request(api: Api) -> None:
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


def test_what_a_request_lacks_is_null(api: Api) -> None:
    event = api.event("GET", "/open")
    for name in ("queryStringParameters", "multiValueQueryStringParameters", "pathParameters"):
        assert event[name] is None
    assert event["body"] is None
    assert "authorizer" not in event["requestContext"]


def test_header_names_arrive_as_they_were_sent(api: Api) -> None:
    _, _, body = api.raw(b"GET /open HTTP/1.1\r\nHost: h\r\nx-OdD-cAse: 1\r\n\r\n")
    assert json.loads(body)["event"]["headers"]["x-OdD-cAse"] == "1"


def test_a_function_gets_its_own_environment_and_nothing_of_ours(
    api: Api, monkeypatch: pytest.MonkeyPatch
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


# ── Routes ──────────────────────────────────────────────────────────────────────────────────────
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
    api: Api, path: str, resource: str, parameters: dict[str, str] | None
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
    api: Api, method: str, path: str
) -> None:
    answer = api.http.request(method, path, headers={"X-API-KEY": "k"})
    assert (answer.status_code, answer.json()) == (403, {"message": "Missing Authentication Token"})


# ── The authorizer ──────────────────────────────────────────────────────────────────────────────
def test_without_the_header_the_authorizer_is_not_asked(api: Api) -> None:
    asked = api.event("GET", "/echo", headers={"X-API-KEY": "count 1"})
    for headers in ({}, {"X-API-KEY": ""}):
        answer = api.http.get("/echo", headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized"})
    asked_again = api.event("GET", "/echo", headers={"X-API-KEY": "count 2"})
    calls = [int(e["requestContext"]["authorizer"]["calls"]) for e in (asked, asked_again)]
    assert calls[1] == calls[0] + 1


def test_the_context_arrives_as_texts(api: Api) -> None:
    context = api.event("GET", "/echo")["requestContext"]["authorizer"]
    assert context["flag"] == "true"
    assert context["keys"] == "1"
    assert context["calls"].isdigit()


def test_a_policy_is_cached_for_its_time_and_asked_for_anew_after_it(api: Api) -> None:
    def calls() -> str:
        event = api.event("GET", "/echo", headers={"X-API-KEY": "cached"})
        return str(event["requestContext"]["authorizer"]["calls"])

    first = calls()
    assert calls() == first
    time.sleep(1.1)
    assert calls() != first


def test_a_cached_policy_is_held_against_each_route_and_method(api: Api) -> None:
    def status(method: str, path: str, key: str) -> int:
        return api.http.request(method, path, headers={"X-API-KEY": key}).status_code

    assert status("GET", "/echo", "narrow") == 200
    assert status("POST", "/echo", "narrow") == 418
    assert status("GET", "/echo/1", "narrow") == 418
    assert status("GET", "/echo", "narrow") == 200
    assert status("GET", "/echo/1", "deep") == 200
    assert status("GET", "/echo", "deep") == 418


def test_a_second_identity_header_is_another_caller(api: Api) -> None:
    one = api.event("GET", "/echo", headers=[("X-API-KEY", "same")])
    two = api.event("GET", "/echo", headers=[("x-api-key", "other"), ("X-API-KEY", "same")])
    keys = [e["requestContext"]["authorizer"]["keys"] for e in (one, two)]
    assert keys == ["1", "2"]


def test_a_denied_caller_gets_the_template_s_answer(api: Api) -> None:
    answer = api.http.get("/echo", headers={"X-API-KEY": "denied"})
    assert answer.status_code == 418
    body = answer.json()
    assert body == {
        "m": "User is not authorized to access this resource",
        "t": "ACCESS_DENIED",
        "r": answer.headers["x-request-id"],
    }
    assert answer.headers["x-fixed"] == "as is"
    assert answer.headers["content-type"] == "application/json"


def test_the_exception_unauthorized_is_a_401(api: Api) -> None:
    answer = api.http.get("/echo", headers={"X-API-KEY": "unauthorized"})
    assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized"})


@pytest.mark.parametrize("key", ["broken", "junk", "nested", "slow"])
def test_an_authorizer_that_fails_is_a_500_and_is_not_cached(api: Api, key: str) -> None:
    answer = api.http.get("/echo", headers={"X-API-KEY": key})
    assert (answer.status_code, answer.json()) == (500, {"message": "Internal server error"})
    assert api.http.get("/echo", headers={"X-API-KEY": "k"}).status_code == 200


# ── Limits ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("path", ["/open", "/nothing"])
def test_a_body_over_10_mb_is_too_large_anywhere(api: Api, path: str) -> None:
    answer = api.http.post(path, content=b"x" * (10 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()) == (413, {"message": "Request Too Long"})


def test_an_event_over_6_mb_is_too_large_and_one_below_is_not(api: Api) -> None:
    limit = 6 * 1024 * 1024
    assert api.http.post("/obey?letters=1", content=b"x" * limit).status_code == 413
    assert api.http.post("/obey?letters=1", content=b'"' * (limit // 2)).status_code == 413
    assert api.http.post("/obey?letters=1", content=b"x" * (limit - 4096)).status_code == 200


def test_request_line_and_header_values_have_10240_bytes_together(api: Api) -> None:
    line = len("GET/open")
    fixed = {"Host": "h", "Accept": "a", "Accept-Encoding": "e", "Connection": "c"}
    fixed["User-Agent"] = "u"
    room = 10_240 - line - len(fixed)
    assert api.http.get("/open", headers=fixed | {"X-Long": "x" * room}).status_code == 200
    answer = api.http.get("/open", headers=fixed | {"X-Long": "x" * (room + 1)})
    assert answer.status_code == 431
    assert answer.json() == {"message": "Request line and headers exceed 10240 bytes"}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /open HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
        b"GET /open?" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /" + b"x" * 66_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /open HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
        b"NONSENSE /open HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: h\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /open HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        b"\x16\x03\x01 TLS by mistake\r\n\r\n",
    ],
)
def test_what_no_server_takes_is_refused_in_our_shape(api: Api, request_bytes: bytes) -> None:
    status, headers, body = api.raw(request_bytes)
    assert 400 <= status < 500
    assert headers["content-type"] == "application/json"
    assert json.loads(body).keys() == {"message"}
    assert api.http.get("/open").status_code == 200


def test_a_client_that_leaves_in_mid_body_reaches_no_function(api: Api) -> None:
    with socket.create_connection(api.address) as client:
        client.sendall(
            b"POST /obey?print=half HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nxx"
        )
    assert api.obey(sleep=0, print="whole").status_code == 200
    log = api.gateway.pools["Obey"].log.read_text()
    assert "whole" in log
    assert "half" not in log


def test_the_stage_s_throttle_lets_a_burst_through_and_refills(
    make_api: MakeApi,
) -> None:
    settings = (
        "      StageName: live\n"
        '      MethodSettings: [{ResourcePath: "/*", HttpMethod: "*",'
        " ThrottlingRateLimit: 5, ThrottlingBurstLimit: 3}]\n"
    )
    api = make_api(TEMPLATE.replace("      StageName: live\n", settings))
    statuses = [api.obey(letters=1).status_code for _ in range(1)]
    time.sleep(0.7)
    statuses += [api.obey(letters=1).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 200, 429]
    time.sleep(0.3)
    assert api.obey(letters=1).status_code == 200


# ── Functions ───────────────────────────────────────────────────────────────────────────────────
NO_ANSWERS: tuple[Any, ...] = (
    None,
    [],
    "text",
    {"statusCode": "x"},
    {"statusCode": 99},
    {"statusCode": 200, "body": {"not": "text"}},
    {"statusCode": 200, "headers": {"a": ["list"]}},
    {"statusCode": 200, "headers": {"a": "b\r\nc: d"}},
    {"statusCode": 200, "headers": {"a b": "c"}},
    {"statusCode": 200, "unknown": 1},
)


@pytest.mark.parametrize(
    "query",
    [
        {"raise": "oh"},
        {"exit": 0},
        {"sleep": 3},
        {"letters": 6 * 1024 * 1024},
        *({"answer": json.dumps(answer)} for answer in NO_ANSWERS),
    ],
    ids=str,
)
def test_a_function_that_fails_is_a_502_and_the_next_request_works(
    api: Api, query: dict[str, object]
) -> None:
    answer = api.obey(**query)
    assert (answer.status_code, answer.json()) == (502, {"message": "Internal server error"})
    assert api.obey(letters=1).status_code == 200


def test_a_handler_that_does_not_load_is_a_502(api: Api) -> None:
    assert api.http.get("/broken").status_code == 502
    assert "has no attribute 'nothing'" in api.gateway.pools["Broken"].log.read_text()


def test_what_a_function_prints_and_raises_is_in_its_log(api: Api) -> None:
    api.obey(print="a line", **{"raise": "the reason"})
    log = api.gateway.pools["Obey"].log.read_text()
    assert "a line\n" in log
    assert "RuntimeError: the reason" in log


def test_the_gateway_waits_no_longer_than_its_integration_timeout(api: Api) -> None:
    begun = time.monotonic()
    answer = api.http.get("/brief", params={"sleep": "1.5"})
    assert (answer.status_code, answer.json()) == (504, {"message": "Endpoint request timed out"})
    assert time.monotonic() - begun < 1


def test_a_sandbox_killed_in_mid_request_is_a_502_and_is_replaced(
    make_api: MakeApi,
) -> None:
    api = make_api(sandboxes=1)
    pid = api.pid()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(lambda: api.obey(sleep=1.5))
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        assert answer.result().status_code == 502
    assert api.pid() != pid


def test_a_sandbox_killed_while_idle_is_never_noticed(make_api: MakeApi) -> None:
    api = make_api(sandboxes=1)
    pid = api.pid()
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
    assert api.pid() != pid


def test_a_sandbox_serves_one_event_at_a_time_and_the_others_wait(api: Api) -> None:
    with ThreadPoolExecutor(6) as pool:
        told = [r.json() for r in pool.map(lambda _: api.obey(sleep=0.2), range(6))]
    by_pid: dict[int, list[tuple[float, float]]] = {}
    for one in told:
        by_pid.setdefault(one["pid"], []).append((one["begun"], one["ended"]))
    assert len(by_pid) == 2
    for spans in by_pid.values():
        spans.sort()
        assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_a_warm_sandbox_is_used_again(api: Api) -> None:
    assert len({api.pid() for _ in range(5)}) == 1


# ── Answers ─────────────────────────────────────────────────────────────────────────────────────
def test_headers_of_both_kinds_go_out_and_a_pair_in_both_goes_once(api: Api) -> None:
    got = api.answer(
        statusCode="201",
        headers={"X-One": "1", "x-both": "b", "Content-Type": "text/plain", "x-yes": True},
        multiValueHeaders={"Set-Cookie": ["a=1", "b=2"], "x-both": ["b"]},
        body="ünï",
    )
    assert got.status_code == 201
    assert got.text == "ünï"
    assert got.headers["content-type"] == "text/plain"
    assert got.headers["x-yes"] == "true"
    assert got.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert got.headers.get_list("x-both") == ["b"]


def test_an_answer_without_anything_is_an_empty_200(api: Api) -> None:
    got = api.answer()
    assert (got.status_code, got.text) == (200, "")
    assert got.headers["content-type"] == "application/json"


def test_a_204_has_no_body_and_no_length(api: Api) -> None:
    got = api.answer(statusCode=204, body="lost")
    assert (got.status_code, got.content) == (204, b"")
    assert "content-length" not in got.headers


def test_base64_goes_out_as_it_is_without_binary_media_types(api: Api) -> None:
    assert api.obey(base64="00ff").text == "AP8="


def test_base64_becomes_bytes_both_ways_with_binary_media_types(
    make_api: MakeApi,
) -> None:
    binary = 'BinaryMediaTypes: ["image~1png"]'
    api = make_api(TEMPLATE.replace("StageName: live", f"StageName: live\n      {binary}"))
    got = api.http.get("/obey", params={"base64": "00ff"}, headers={"Accept": "image/png"})
    assert got.content == b"\x00\xff"
    assert api.obey(base64="00ff").text == "AP8="
    sent = api.event("POST", "/open", content=b"\x00\xff", headers={"Content-Type": "image/png"})
    assert (sent["body"], sent["isBase64Encoded"]) == ("AP8=", True)


# ── The project's own template ──────────────────────────────────────────────────────────────────
OURS = template.load(ROOT / "template.yaml", {"Profile": "local", "DatabaseHost": "/nowhere"})


@pytest.mark.parametrize("kind", OURS.responses)
@pytest.mark.parametrize("message", ["plain", 'with "quotes" and \\'])
def test_every_gateway_response_of_our_template_has_our_error_shape(
    tmp_path: Path, kind: str, message: str
) -> None:
    request = Request(method="GET", path="/api/v1/tools")
    error = GatewayError(kind, message=message)
    response = Gateway(OURS, 1, tmp_path).error_response(error, request)
    body = json.loads(response.body)
    assert body.keys() == {"error_code", "message", "details"}
    assert response.status == OURS.responses[kind].status
    headers = dict(response.headers)
    assert headers[b"x-request-id"] == request.id.encode()
    assert headers[b"content-type"] == b"application/json"
    if response.status in (429, 503):
        assert int(headers[b"retry-after"]) > 0
