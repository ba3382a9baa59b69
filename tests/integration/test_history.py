"""The history, through the Lambda handler."""

from urllib.parse import quote
from uuid import uuid4

import pytest

from mini_agent.tenant import Caller
from tests.conftest import Connection
from tests.integration.client import Client, ids, refused_fields


def test_a_run_is_in_the_history_as_it_was(client: Client) -> None:
    agent = client.agent("Ann")
    run = client.run(agent)
    client("PUT", f"/agents/{agent['id']}", {"name": "Bob"})
    [entry] = client("GET", "/history").json["items"]
    assert entry == {
        "id": run["execution_id"],
        "agent_id": agent["id"],
        "agent_name": "Ann",
        "model": run["model"],
        "prompt": run["prompt"],
        "response": run["response"],
        "status": "completed",
        "created_at": run["executed_at"],
        "stop_reason": "answered",
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": 0,
        "steps": 1,
        "duration_ms": entry["duration_ms"],
    }
    assert 0 < entry["duration_ms"] < 5000
    assert client("GET", f"/history/{run['execution_id']}").json == entry


def test_the_newest_comes_first(client: Client) -> None:
    agent = client.agent()
    runs = [client.run(agent)["execution_id"] for _ in range(3)]
    assert ids(client("GET", "/history")) == runs[::-1]


def test_an_unknown_id_is_not_found_and_a_malformed_one_refused(client: Client) -> None:
    missing = str(uuid4())
    absent = client("GET", f"/history/{missing}")
    assert (absent.status, absent.error_code) == (404, "EXECUTION_NOT_FOUND")
    assert absent.json["details"] == {"execution_id": missing}
    assert refused_fields(client("GET", "/history/not-an-id")) == {"path.execution_id"}


# ── Filters ──────────────────────────────────────────────────────────────────────────────────────

ANN, BOB = str(uuid4()), str(uuid4())
ENTRIES = {
    # second of the day, agent, model, status
    "a": (1, ANN, "gpt-4", "completed"),
    "b": (2, ANN, "gpt-4o", "failed"),
    "c": (3, BOB, "gpt-4", "failed"),
    "d": (4, BOB, "gpt-4o", "completed"),
}
DAY = "2024-01-15T00:00:0"


@pytest.fixture
def entries(admin: Connection, tenant: Caller) -> None:
    """Four executions, their prompts a to d, a second apart."""
    for prompt, (second, agent_id, model, status) in ENTRIES.items():
        admin.execute(
            "insert into app.executions"
            " (tenant_id, agent_id, agent_name, model, prompt, status, created_at)"
            " values (%s, %s, 'agent', %s, %s, %s, %s)",
            (tenant.tenant_id, agent_id, model, prompt, status, f"{DAY}{second}Z"),
        )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "dcba"),
        (f"agent_id={ANN}", "ba"),
        (f"agent_id={ANN.upper()}", "ba"),
        (f"agent_id={uuid4()}", ""),
        ("model=gpt-4", "ca"),
        ("model=gpt-5", ""),
        ("status=failed", "cb"),
        ("status=completed", "da"),
        (f"created_after={DAY}2Z", "dc"),
        (f"created_before={DAY}2Z", "a"),
        (f"created_after={DAY}1.999999Z&created_before={DAY}3Z", "b"),
        (f"created_after={quote('2024-01-15T02:00:02+02:00')}", "dc"),
        (f"created_after={DAY}1Z&status=failed&agent_id={BOB}&model=gpt-4", "c"),
        ("created_after=0001-01-01T00:00:00%2B14:00", "dcba"),
        ("created_before=9999-12-31T23:59:59-14:00", "dcba"),
    ],
)
def test_filters_are_exact_times_exclusive_and_all_combine(
    client: Client, entries: None, query: str, found: str
) -> None:
    page = client("GET", f"/history?{query}&include_total=true".replace("?&", "?")).json
    assert "".join(item["prompt"] for item in page["items"]) == found
    assert page["total"] == len(found)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("agent_id=ann", "agent_id"),
        ("status=done", "status"),
        ("status=", "status"),
        ("model=", "model"),
        ("created_after=yesterday", "created_after"),
        ("created_after=2024-01-15", "created_after"),
        ("created_after=2024-01-15T10:30:00", "created_after"),  # in which time zone?
        ("created_before=1705314600", "created_before"),
        ("created_before=1705-", "created_before"),
        ("created_before=", "created_before"),
        ("agent=ann", "agent"),
    ],
)
def test_an_unfit_filter_is_refused(client: Client, query: str, field: str) -> None:
    assert refused_fields(client("GET", f"/history?{query}")) == {f"query.{field}"}
