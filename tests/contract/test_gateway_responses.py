"""What functions return becomes HTTP as at API Gateway; the gateway's own errors have our shape."""

import json
from pathlib import Path

import pytest

from local import template
from local.gateway import Gateway, GatewayError
from local.proxy import Request
from tests.contract.gateway_api import TEMPLATE, GatewayApi, MakeApi

ROOT = Path(__file__).parents[2]


def test_headers_of_both_kinds_go_out_and_a_pair_in_both_goes_once(api: GatewayApi) -> None:
    got = api.respond(
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


def test_an_answer_without_anything_is_an_empty_200(api: GatewayApi) -> None:
    got = api.respond()
    assert (got.status_code, got.text) == (200, "")
    assert got.headers["content-type"] == "application/json"


def test_a_204_has_no_body_and_no_length(api: GatewayApi) -> None:
    got = api.respond(statusCode=204, body="lost")
    assert (got.status_code, got.content) == (204, b"")
    assert "content-length" not in got.headers


def test_base64_goes_out_as_it_is_without_binary_media_types(api: GatewayApi) -> None:
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
