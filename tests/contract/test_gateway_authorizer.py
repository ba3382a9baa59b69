"""The local gateway asks the authorizer, caches its policies and obeys them as API Gateway does."""

import pytest

from tests.contract.gateway_api import TEMPLATE, Clock, GatewayApi, MakeApi


def test_without_the_header_the_authorizer_is_not_asked(api: GatewayApi) -> None:
    asked = api.event("GET", "/echo", headers={"X-API-KEY": "count 1"})
    for headers in ({}, {"X-API-KEY": ""}):
        answer = api.http.get("/echo", headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized"})
    asked_again = api.event("GET", "/echo", headers={"X-API-KEY": "count 2"})
    calls = [int(e["requestContext"]["authorizer"]["calls"]) for e in (asked, asked_again)]
    assert calls[1] == calls[0] + 1


def test_the_context_arrives_as_texts(api: GatewayApi) -> None:
    context = api.event("GET", "/echo")["requestContext"]["authorizer"]
    assert context["flag"] == "true"
    assert context["keys"] == "1"
    assert context["calls"].isdigit()


def test_a_policy_is_cached_for_its_time_and_asked_for_anew_after_it(
    api: GatewayApi, clock: Clock
) -> None:
    def calls() -> str:
        event = api.event("GET", "/echo", headers={"X-API-KEY": "cached"})
        return str(event["requestContext"]["authorizer"]["calls"])

    first = calls()
    clock.advance(0.9)
    assert calls() == first
    clock.advance(0.1)
    assert calls() != first


def test_a_cached_policy_is_held_against_each_route_and_method(api: GatewayApi) -> None:
    def status(method: str, path: str, key: str) -> int:
        return api.http.request(method, path, headers={"X-API-KEY": key}).status_code

    assert status("GET", "/echo", "narrow") == 200
    assert status("POST", "/echo", "narrow") == 418
    assert status("GET", "/echo/1", "narrow") == 418
    assert status("GET", "/echo", "narrow") == 200
    assert status("GET", "/echo/1", "deep") == 200
    assert status("GET", "/echo", "deep") == 418


def test_a_second_identity_header_is_another_caller(api: GatewayApi) -> None:
    one = api.event("GET", "/echo", headers=[("X-API-KEY", "same")])
    two = api.event("GET", "/echo", headers=[("x-api-key", "other"), ("X-API-KEY", "same")])
    keys = [e["requestContext"]["authorizer"]["keys"] for e in (one, two)]
    assert keys == ["1", "2"]


def test_a_denied_caller_gets_the_template_s_answer(api: GatewayApi) -> None:
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


def test_the_exception_unauthorized_is_a_401(api: GatewayApi) -> None:
    answer = api.http.get("/echo", headers={"X-API-KEY": "unauthorized"})
    assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized"})


@pytest.mark.parametrize("key", ["broken", "junk", "nested"])
def test_an_authorizer_that_fails_is_a_500_and_is_not_cached(api: GatewayApi, key: str) -> None:
    answer = api.http.get("/echo", headers={"X-API-KEY": key})
    assert (answer.status_code, answer.json()) == (500, {"message": "Internal server error"})
    assert api.http.get("/echo", headers={"X-API-KEY": "k"}).status_code == 200


def test_an_authorizer_that_takes_too_long_is_a_500_and_is_replaced(make_api: MakeApi) -> None:
    api = make_api(TEMPLATE.replace("Timeout: 29", "Timeout: 1"))
    answer = api.http.get("/echo", headers={"X-API-KEY": "slow"})
    assert (answer.status_code, answer.json()) == (500, {"message": "Internal server error"})
    assert api.http.get("/echo", headers={"X-API-KEY": "k"}).status_code == 200
