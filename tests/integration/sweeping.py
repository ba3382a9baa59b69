"""What the tests of the sweep share."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from functions.sweep.app import handler
from mini_agent.identity.callers import Caller
from tests.databases import Connection, configured
from tests.events import Context

NOTHING = {
    "expired_runs": 0,
    "deleted_responses": 0,
    "deleted_runs": 0,
    "purged_rows": 0,
    "recorded_key_uses": 0,
}


def sweep() -> dict[str, int]:
    """Sweep once, as the function does, and return what it did but for the noted uses."""
    with configured(database_user="map_sweeper"):
        done: dict[str, int] = handler({}, Context())
    return done | {"recorded_key_uses": 0}


def swept(**done: int) -> dict[str, int]:
    return NOTHING | done


def add_runs(
    admin: Connection, caller: Caller, *times: datetime, steps: int = 0, **fields: object
) -> None:
    """Give a tenant a run at each of these times."""
    run = {"agent_id": uuid4(), "agent_name": "Ann", "model": "gpt-4o", "status": "completed"}
    for number, created_at in enumerate(times):
        values: dict[str, Any] = run | fields | {"tenant_id": caller.tenant_id, "id": uuid4()}
        values |= {"prompt": "?", "created_at": created_at, "cost_usd": number / 1000}
        values |= {"input_tokens": 10 + number, "output_tokens": number}
        names, places = ", ".join(values), ", ".join(["%s"] * len(values))
        statement = f"insert into app.executions ({names}) values ({places})"
        admin.execute(statement.encode(), list(values.values()))
        admin.execute(
            "insert into app.execution_steps"
            " (tenant_id, execution_id, number, kind, status, attempt)"
            " select %s, %s, n, 'model', 'completed', 1 from generate_series(1, %s) n",
            (caller.tenant_id, values["id"], steps),
        )


def keep(admin: Connection, caller: Caller, days: int | None) -> None:
    admin.execute(
        "update app.tenants set retention_days = %s where id = %s", (days, caller.tenant_id)
    )


def let_go(
    admin: Connection, caller: Caller, delete_after: str = "now() - interval '1 second'"
) -> None:
    """Delete a tenant, as an operator would have, its grace over unless told otherwise."""
    admin.execute(
        "update app.tenants set status = 'deleted',"
        f" delete_after = {delete_after} where id = '{caller.tenant_id}'".encode()
    )


def count(admin: Connection, table: str, caller: Caller) -> int:
    statement = f"select count(*) from app.{table} where tenant_id = '{caller.tenant_id}'"
    [number] = admin.execute(statement.encode()).fetchone() or [0]
    return int(number)


def ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)
