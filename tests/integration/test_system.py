"""Health, readiness and the documentation, through the Lambda handler."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from functions.system import docs
from mini_agent import API_VERSION
from mini_agent.data import db, redis_client
from tests.databases import configured
from tests.integration.client import Client

nobody = Client()


@pytest.fixture
def nothing(clean: None, tmp_path: Path) -> str:
    """A Redis address where there is nothing."""
    return f"unix://{tmp_path}/none"


def test_health_answers_without_touching_anything(tmp_path: Path, nothing: str) -> None:
    with configured(database_host=str(tmp_path), redis_url=nothing):
        answer = nobody("GET", "/health")
        assert (answer.status, answer.json) == (
            200,
            {"status": "healthy", "service": "Mini Agent Platform", "version": API_VERSION},
        )
        assert db._connection is None
        assert not redis_client.client.cache_info().currsize


def test_ready_tells_each_dependencys_state_and_latency(clean: None) -> None:
    answer = nobody("GET", "/ready")
    assert (answer.status, answer.json["status"]) == (200, "ready")
    assert answer.json["dependencies"].keys() == {"database", "rate_limiter"}
    for dependency in answer.json["dependencies"].values():
        assert dependency["state"] == "up"
        assert 0 < dependency["latency_ms"] < 10_000


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        (["database"], "database"),
        (["rate_limiter"], "rate_limiter"),
        (["database", "rate_limiter"], "database, rate_limiter"),
    ],
    ids=["database", "limiter", "both"],
)
def test_not_ready_tells_what_is_away_and_no_address(
    tmp_path: Path, nothing: str, gone: list[str], reason: str
) -> None:
    away = {"database": {"database_host": str(tmp_path)}, "rate_limiter": {"redis_url": nothing}}
    with configured(**{k: v for name in gone for k, v in away[name].items()}):
        answer = nobody("GET", "/ready")
    assert (answer.status, answer.error_code) == (503, "SERVICE_UNAVAILABLE")
    assert int(answer.headers["retry-after"]) > 0
    details = answer.json["details"]
    assert details["reason"] == reason
    assert {n: d["state"] for n, d in details["dependencies"].items()} == {
        name: "down" if name in gone else "up" for name in ("database", "rate_limiter")
    }
    assert str(tmp_path) not in answer.text


class Links(HTMLParser):
    """Collects what a page loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.found += re.findall(r"url: ['\"]([^'\"]+)['\"]", page)  # Swagger UI's option

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":  # followed, not loaded
            return
        self.found += [
            value
            for name, value in attrs
            if value and name in {"src", "href", "spec-url"} and not value.startswith("data:")
        ]


@pytest.mark.parametrize(
    ("path", "loads"),
    [
        (
            "/docs",
            {"openapi.json", "docs/swagger-ui-bundle.js", "docs/swagger-ui.css"},
        ),
        ("/redoc", {"openapi.json", "docs/redoc.standalone.js"}),
    ],
)
def test_a_documentation_page_loads_all_it_needs_from_here_whatever_the_stage(
    path: str, loads: set[str]
) -> None:
    page = nobody("GET", path)
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    links = set(Links(page.text).found)
    assert links == loads
    for link in links:
        loaded = nobody("GET", f"/{link}")
        assert (loaded.status, bool(loaded.text)) == (200, True)


def test_assets_have_their_types_and_may_be_cached() -> None:
    for name, media_type in (
        ("swagger-ui-bundle.js", "text/javascript"),
        ("swagger-ui.css", "text/css"),
        ("redoc.standalone.js", "text/javascript"),
    ):
        asset = nobody("GET", f"/docs/{name}")
        assert asset.headers["content-type"].startswith(media_type)
        assert asset.headers["x-content-type-options"] == "nosniff"
        assert "max-age" in asset.headers["cache-control"]


@pytest.mark.parametrize(
    "name",
    ["none.js", "swagger-ui.css.map", "app.py", "..%2Fapp.py", "%2e%2e%2fapp.py", "%00", "a/b"],
)
def test_no_other_file_is_served(name: str) -> None:
    answer = nobody("GET", f"/docs/{name}")
    assert (answer.status, answer.error_code) == (404, "ROUTE_NOT_FOUND")


def test_the_openapi_document_is_served_minified() -> None:
    for _ in range(2):  # the second response is a stored one
        answer = nobody("GET", "/openapi.json")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json == json.loads(docs.OPENAPI.read_text())
        assert len(answer.text.encode()) < 200_000


def test_a_public_room_needs_no_caller_and_counts_against_no_limit() -> None:
    assert "x-ratelimit-limit" not in nobody("GET", "/health").headers
