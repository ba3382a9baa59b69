"""The local gateway keeps API Gateway's limits: sizes, malformed HTTP, the stage's throttle."""

import json
import socket

import pytest

from tests.contract.gateway_api import TEMPLATE, Clock, GatewayApi, MakeApi


@pytest.mark.parametrize("path", ["/open", "/nothing"])
def test_a_body_over_10_mb_is_too_large_anywhere(api: GatewayApi, path: str) -> None:
    answer = api.http.post(path, content=b"x" * (10 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()) == (413, {"message": "Request Too Long"})


def test_an_event_over_6_mb_is_too_large_and_one_below_is_not(api: GatewayApi) -> None:
    limit = 6 * 1024 * 1024
    assert api.http.post("/obey?letters=1", content=b"x" * limit).status_code == 413
    assert api.http.post("/obey?letters=1", content=b'"' * (limit // 2)).status_code == 413
    assert api.http.post("/obey?letters=1", content=b"x" * (limit - 4096)).status_code == 200


def test_request_line_and_header_values_have_10240_bytes_together(api: GatewayApi) -> None:
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
def test_what_no_server_takes_is_refused_in_our_shape(
    api: GatewayApi, request_bytes: bytes
) -> None:
    status, headers, body = api.raw(request_bytes)
    assert 400 <= status < 500
    assert headers["content-type"] == "application/json"
    assert json.loads(body).keys() == {"message"}
    assert api.http.get("/open").status_code == 200


def test_a_client_that_leaves_in_mid_body_reaches_no_function(api: GatewayApi) -> None:
    with socket.create_connection(api.address) as client:
        client.sendall(
            b"POST /obey?print=half HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nxx"
        )
    assert api.obey(pid=1, print="whole").status_code == 200
    log = api.gateway.pools["Obey"].log.read_text()
    assert "whole" in log
    assert "half" not in log


def test_the_stage_s_throttle_lets_a_burst_through_and_refills(
    make_api: MakeApi, clock: Clock
) -> None:
    settings = (
        "      StageName: live\n"
        '      MethodSettings: [{ResourcePath: "/*", HttpMethod: "*",'
        " ThrottlingRateLimit: 5, ThrottlingBurstLimit: 3}]\n"
    )
    api = make_api(TEMPLATE.replace("      StageName: live\n", settings))
    for seconds, admitted in ((0, 3), (0.2, 1), (0.1, 0), (0.1, 1), (60, 3)):
        clock.advance(seconds + 1e-6)  # fractions of a token do not add up exactly
        statuses = [api.obey(letters=1).status_code for _ in range(admitted + 1)]
        assert statuses == [200] * admitted + [429]
