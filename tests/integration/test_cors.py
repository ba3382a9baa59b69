"""A browser's page of another origin."""

from collections.abc import Iterator

import pytest

from functions.tools.app import handler
from mini_agent.identity.callers import Caller
from tests.databases import configured
from tests.events import invoke

PAGE = "https://app.example"


@pytest.fixture
def page() -> Iterator[None]:
    with configured(cors_origin=PAGE):
        yield


def test_a_page_of_the_configured_origin_may_read_answers_and_their_headers(
    tenant: Caller, page: None
) -> None:
    answer = invoke(handler, "GET", "/api/v1/tools", caller=tenant)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "X-RateLimit-Remaining" in answer.headers["access-control-expose-headers"]
    assert answer.headers["vary"] == "Origin"


def test_a_page_of_the_configured_origin_may_read_refusals(page: None) -> None:
    answer = invoke(handler, "GET", "/api/v1/tools")
    assert answer.status == 401
    assert answer.headers["access-control-allow-origin"] == PAGE


def test_no_page_may_read_anything_unless_configured(tenant: Caller) -> None:
    answer = invoke(handler, "GET", "/api/v1/tools", caller=tenant)
    assert not [name for name in answer.headers if name.startswith("access-control")]
