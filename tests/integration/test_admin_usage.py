"""Operators read a tenant's usage."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from mini_agent.identity.callers import Caller
from tests.conftest import Connection
from tests.integration.client import Client, refused_fields
from tests.integration.tenants import path_of


def used(admin: Connection, tenant: Caller, model: str, at: datetime, cost: str) -> None:
    admin.execute(
        "insert into app.executions (tenant_id, agent_id, agent_name, model, prompt, status,"
        " created_at, input_tokens, output_tokens, cost_usd)"
        " values (%s, %s, 'Ann', %s, 'p', 'completed', %s, 3, 2, %s)",
        (tenant.tenant_id, uuid4(), model, at, cost),
    )


def kept(admin: Connection, tenant: Caller, model: str, at: datetime, cost: str) -> None:
    admin.execute(
        "insert into app.daily_usage values (%s, %s, %s, %s, 'Ann', 10, 30, 20, %s)",
        (tenant.tenant_id, at.date(), model, uuid4(), cost),
    )


def of_day(day: str, model: str, runs: int, cost: float) -> dict[str, Any]:
    tokens = {"input_tokens": 3 * runs, "output_tokens": 2 * runs}
    return {"day": day, "model": model, "runs": runs, "cost_usd": cost} | tokens


def test_usage_adds_up_a_tenants_runs_those_that_are_deleted_too(
    operating: Client, tenant: Caller, stranger: Caller, admin: Connection
) -> None:
    noon = datetime(2024, 1, 15, 12, tzinfo=UTC)
    for _ in range(2):  # of two agents
        used(admin, tenant, "gpt-4", noon, "0.25")
        kept(admin, tenant, "gpt-4", noon, "1.5")
    used(admin, tenant, "gpt-4o", noon, "0.125")
    used(admin, tenant, "gpt-4", noon + timedelta(days=1), "0.25")
    kept(admin, tenant, "gpt-4o", noon - timedelta(days=1), "2")
    for write in (used, kept):
        write(admin, stranger, "gpt-4", noon, "100")
    path, day = f"{path_of(tenant)}/usage", "2024-01-15"
    before, all_ = of_day("2024-01-14", "gpt-4o", 10, 2.0), of_day(day, "gpt-4", 22, 3.5)
    small, after = of_day(day, "gpt-4o", 1, 0.125), of_day("2024-01-16", "gpt-4", 1, 0.25)
    for query, expected in (
        ("created_after=2024-01-01T00:00:00Z", [after, all_, small, before]),
        ("created_after=2024-01-15T00:00:00Z", [after, all_, small]),
        (
            "created_after=2024-01-15T00:00:00Z&created_before=2024-01-16T00:00:00Z",
            [all_, small],
        ),
        ("created_after=2024-01-01T00:00:00Z&created_before=2024-01-15T00:00:00Z", [before]),
        ("created_after=2024-01-01T00:00:00Z&model=gpt-4", [after, all_]),
        # A bound that cuts a day: deleted runs of that day count in full.
        (
            "created_after=2024-01-15T18:00:00Z",
            [after, of_day(day, "gpt-4", 20, 3.0) | {"input_tokens": 60, "output_tokens": 40}],
        ),
        ("", []),
    ):
        answer = operating("GET", f"{path}?{query}")
        assert (answer.status, answer.json) == (200, {"items": expected})
    assert refused_fields(operating("GET", f"{path}?created_after=1")) == {"query.created_after"}


def test_without_bounds_usage_is_of_30_days(
    operating: Client, tenant: Caller, admin: Connection
) -> None:
    now = datetime.now(UTC)
    for days in (1, 29, 31):
        used(admin, tenant, "gpt-4", now - timedelta(days=days), "1")
        kept(admin, tenant, "gpt-4", now - timedelta(days=days), "1")
    told = operating("GET", f"{path_of(tenant)}/usage").json["items"]
    expected = [str((now - timedelta(days=days)).date()) for days in (1, 29)]
    assert [(item["day"], item["runs"]) for item in told] == [(day, 11) for day in expected]
