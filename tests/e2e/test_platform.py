"""The platform from outside, by HTTP alone; MAP_KEY_A and MAP_KEY_B are keys of two tenants."""

import os
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from tests.contract.test_readme import CHAPTERS, follow

KEY_A = os.environ.get("MAP_KEY_A", "tenant-a-key")
KEY_B = os.environ.get("MAP_KEY_B", "tenant-b-key")


def client_of(base_url: str, key: str | None) -> httpx.Client:
    return httpx.Client(base_url=base_url, headers={"X-API-KEY": key} if key else {}, timeout=60)


@pytest.fixture
def a(base_url: str) -> Iterator[httpx.Client]:
    with client_of(base_url, KEY_A) as client:
        yield client


@pytest.fixture
def b(base_url: str) -> Iterator[httpx.Client]:
    with client_of(base_url, KEY_B) as client:
        yield client


@pytest.fixture
def tool(a: httpx.Client) -> Iterator[str]:
    """The id of a tool of A."""
    made = a.post("/api/v1/tools", json={"name": f"tool {uuid4()}", "description": "for a test"})
    assert made.status_code == 201, made.text
    yield made.json()["id"]
    a.delete(f"/api/v1/tools/{made.json()['id']}")


def test_the_workflow_of_the_readme_answers_as_shown(base_url: str) -> None:
    if KEY_A != "tenant-a-key":
        pytest.skip("README's keys and names are for an empty local profile")
    follow(base_url, CHAPTERS[0])


def test_health_and_readiness_need_no_key(base_url: str) -> None:
    with client_of(base_url, None) as client:
        assert client.get("/health").json()["status"] == "healthy"
        assert client.get("/ready").status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/tools", "/api/v1/agents", "/api/v1/history"])
@pytest.mark.parametrize("key", [None, "no-such-key"])
def test_nothing_is_served_without_a_right_key(
    base_url: str, full_gateway: bool, path: str, key: str | None
) -> None:
    with client_of(base_url, key) as client:
        answer = client.get(path)
    if full_gateway:
        code = "INVALID_API_KEY" if key else "MISSING_API_KEY"
        assert (answer.status_code, answer.json()["error_code"]) == (401, code)
    else:
        assert answer.status_code in {401, 403}


def test_a_tool_can_be_made_read_changed_and_removed(a: httpx.Client, tool: str) -> None:
    path = f"/api/v1/tools/{tool}"
    changed = a.put(path, json={"description": "changed"})
    assert changed.status_code == 200, changed.text
    assert a.get(path).json() == changed.json()
    assert a.delete(path).status_code == 204
    assert a.get(path).json()["error_code"] == "TOOL_NOT_FOUND"


def test_another_tenant_gets_the_answer_for_an_id_that_exists_nowhere(
    b: httpx.Client, tool: str
) -> None:
    foreign, nowhere = (b.get(f"/api/v1/tools/{id_}") for id_ in (tool, uuid4()))
    assert foreign.status_code == nowhere.status_code == 404
    assert foreign.json()["error_code"] == nowhere.json()["error_code"] == "TOOL_NOT_FOUND"


def test_an_agent_runs_and_its_run_is_in_the_history(a: httpx.Client, tool: str) -> None:
    agent = a.post(
        "/api/v1/agents",
        json={
            "name": f"agent {uuid4()}",
            "role": "tester",
            "description": "for a test",
            "tool_ids": [tool],
        },
    ).json()
    try:
        body = {"prompt": "Say something", "model": "gpt-4o"}
        run = a.post(f"/api/v1/agents/{agent['id']}/run", json=body).json()
        assert run["response"].startswith(f"[Mock Response] Agent '{agent['name']}' (role: tester)")
        seen = a.get("/api/v1/history", params={"agent_id": agent["id"]}).json()["items"]
        assert [entry["id"] for entry in seen] == [run["execution_id"]]
    finally:
        assert a.delete(f"/api/v1/agents/{agent['id']}").status_code == 204


def test_answers_say_what_is_left_of_the_rate_limit(a: httpx.Client) -> None:
    first, second = (a.get("/api/v1/tools") for _ in range(2))
    assert int(second.headers["X-RateLimit-Remaining"]) < int(first.headers["X-RateLimit-Limit"])
    assert second.headers["X-RateLimit-Window"] == "60"


def test_a_wrong_body_is_refused_field_by_field(a: httpx.Client) -> None:
    answer = a.post("/api/v1/tools", json={"name": " ", "colour": "blue"})
    assert (answer.status_code, answer.json()["error_code"]) == (422, "VALIDATION_ERROR")
    assert answer.json()["details"]["errors"]
