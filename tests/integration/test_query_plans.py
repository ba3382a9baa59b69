"""What a list costs, by what Postgres reads for it: the same at its end as at its beginning."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from functions.migrate import app as migrate
from local import backends
from mini_agent.data import queries
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller, Operator
from tests.databases import (
    Connection,
    configured,
    connect,
    database_of_its_own,
    enter,
    new_tenant,
)
from tests.events import Context

ROWS = 10_000
DEEP = 7_500
PAGE = 21  # one more than a page shows, to know whether there is another
START = datetime(2024, 1, 1, tzinfo=UTC)

# One row a second. One agent has every hundredth tool, every tenth agent has the first tool, every
# tenth run failed.
FILL = """
    insert into app.tools (name, description, created_at)
    select 'tool ' || n, 'd', %(start)s + n * interval '1 s' from generate_series(1, %(rows)s) n;
    insert into app.agents (name, role, description, created_at)
    select 'agent ' || n, 'role ' || n %% 10, 'd', %(start)s + n * interval '1 s'
    from generate_series(1, %(rows)s) n;
    insert into app.agent_tools (agent_id, tool_id)
    select a.id, t.id from app.agents a, app.tools t
    where a.tenant_id = app.tenant_id() and t.tenant_id = app.tenant_id()
      and a.role = 'role 0' and t.name = 'tool 1';
    insert into app.agent_tools (agent_id, tool_id)
    select a.id, t.id from app.agents a, app.tools t
    where a.tenant_id = app.tenant_id() and t.tenant_id = app.tenant_id()
      and a.name = 'agent 5001' and t.name like 'tool %%00';
    insert into app.executions (agent_id, agent_name, model, prompt, response, status, created_at)
    select a.id, a.name, 'gpt-' || n %% 5, 'p', 'r',
           case when n %% 10 = 0 then 'failed' else 'completed' end,
           %(start)s + n * interval '1 s'
    from generate_series(1, %(rows)s) n
    join app.agents a on a.tenant_id = app.tenant_id() and a.name = 'agent ' || 1 + n %% 10;
    insert into app.api_keys (name, digest, pepper_version, prefix, last_four, scopes, created_at)
    select 'key', sha256(n::text::bytea), 1, 'p', 'l', '{}', %(start)s + n * interval '1 s'
    from generate_series(1, %(rows)s) n;
    insert into app.audit_log (action, target_type, target_id, created_at)
    select case when n %% 2 = 0 then 'tool.updated' else 'tool.created' end, 'tool', n,
           %(start)s + n * interval '1 s'
    from generate_series(1, %(rows)s) n
"""
NEWEST_FIRST = {"executions", "audit"}

FILTERS: dict[str, dict[str, object]] = {
    "tools": {"name": None, "agent_name": None},
    "agents": {"name": None, "role": None, "tool_name": None},
    "keys": {"name": None},
    "executions": dict.fromkeys(
        (
            *("agent_id", "model", "status", "created_after", "created_before"),
            *("stop_reason", "min_cost_usd", "min_duration_ms"),
        )
    ),
    "audit": dict.fromkeys(
        (
            *("tenant_id", "action", "key_id", "target_type", "target_id"),
            *("created_after", "created_before"),
        )
    ),
}
LISTS: list[tuple[str, dict[str, object]]] = [
    ("tools", {}),
    ("tools", {"agent_name": "agent 5001"}),
    ("agents", {}),
    ("agents", {"role": "role 0"}),
    ("agents", {"tool_name": "tool 1"}),
    ("keys", {}),
    ("executions", {}),
    ("executions", {"agent_id": "agent 1"}),
    ("executions", {"model": "gpt-1"}),
    ("executions", {"status": "failed"}),
    ("executions", {"status": "completed"}),
    ("executions", {"created_after": START, "created_before": START + timedelta(days=1)}),
    ("audit", {}),
    ("audit", {"action": "tool.updated"}),
    ("audit", {"created_after": START, "created_before": START + timedelta(days=1)}),
]


@pytest.fixture(scope="module")
def tenant(postgres: backends.Server) -> Iterator[Caller]:
    """One of two tenants with 10 000 of everything."""
    with database_of_its_own(postgres, "plans") as admin:
        callers = [new_tenant(admin) for _ in range(2)]
        for caller in callers:
            with admin.transaction():
                enter(admin, caller)
                admin.execute("set local session_replication_role = replica")  # for speed
                for statement in FILL.split(";"):
                    admin.execute(statement.encode(), {"start": START, "rows": ROWS})
        admin.execute("vacuum analyze")
        yield callers[0]


@pytest.fixture
def api(postgres: backends.Server, tenant: Caller) -> Iterator[Connection]:
    with connect(postgres, "map_api", "plans") as conn, conn.transaction():
        enter(conn, tenant)
        yield conn


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def explain(conn: Connection, query: str, parameters: dict[str, object]) -> dict[str, Any]:
    answer = conn.execute(
        b"explain (analyze, buffers, format json) " + queries.load(query), parameters
    ).fetchone()
    assert answer
    plan: dict[str, Any] = answer[0][0]["Plan"]
    return plan


def cost(plan: dict[str, Any]) -> tuple[float, float]:
    """Return how many rows the scans read, and how many blocks all of it touched."""
    scans = [node for node in nodes(plan) if "Scan" in node["Node Type"]]
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    rows = sum(
        (node["Actual Rows"] + sum(node.get(name, 0) for name in removed)) * node["Actual Loops"]
        for node in scans
    )
    return rows, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def page(conn: Connection, room: str, filters: dict[str, object], skipped: int) -> dict[str, Any]:
    """Return the plan of the page behind a number of rows, as a cursor asks for it."""
    if "agent_id" in filters:
        row = conn.execute("select id from app.agents where name = 'agent 1'").fetchone()
        filters = filters | {"agent_id": row and row[0]}
    position: dict[str, object] = {"after_time": None, "after_id": None}
    if skipped:
        seconds = ROWS - skipped if room in NEWEST_FIRST else skipped
        position = {"after_time": START + timedelta(seconds=seconds), "after_id": UUID(int=0)}
    parameters = FILTERS[room] | filters | position | {"limit": PAGE, "offset": 0}
    return explain(conn, f"{room}/list", parameters)


@pytest.mark.parametrize(("room", "filters"), LISTS)
def test_a_deep_page_reads_about_as_much_as_the_first(
    api: Connection, room: str, filters: dict[str, object]
) -> None:
    first, deep = page(api, room, filters, 0), page(api, room, filters, DEEP)

    assert "Seq Scan" not in {node["Node Type"] for node in [*nodes(first), *nodes(deep)]}
    assert first["Actual Rows"] == deep["Actual Rows"] == PAGE
    for of_deep, of_first in zip(cost(deep), cost(first), strict=True):
        assert of_deep <= 1.5 * of_first


def test_the_log_of_all_tenants_is_read_in_its_order_too(
    postgres: backends.Server, tenant: Caller
) -> None:
    with connect(postgres, "map_operator", "plans") as conn, conn.transaction():
        conn.execute("select set_config('app.operator', 'yes', true)")
        first, deep = page(conn, "audit", {}, 0), page(conn, "audit", {}, DEEP)
        assert "Seq Scan" not in {node["Node Type"] for node in [*nodes(first), *nodes(deep)]}
        assert first["Actual Rows"] == deep["Actual Rows"] == PAGE
        for of_deep, of_first in zip(cost(deep), cost(first), strict=True):
            assert of_deep <= 1.5 * of_first


@pytest.mark.parametrize(
    ("query", "table"),
    [
        ("tools/get", "tools"),
        ("agents/get", "agents"),
        ("keys/get", "api_keys"),
        ("executions/get", "executions"),
    ],
)
def test_one_thing_is_found_by_its_id(api: Connection, query: str, table: str) -> None:
    row = api.execute(f"select id from app.{table} limit 1".encode()).fetchone()
    assert row
    rows, blocks = cost(explain(api, query, {"id": row[0]}))
    assert rows <= 3  # with the tool of an agent
    assert blocks <= 20


@pytest.mark.parametrize(("room", "name"), [("tools", "tool 7000"), ("agents", "agent 7000")])
def test_one_thing_is_found_by_its_name(api: Connection, room: str, name: str) -> None:
    rows, blocks = cost(page(api, room, {"name": name}, 0))
    assert rows <= 3
    assert blocks <= 20


@pytest.fixture
def operating(postgres: backends.Server, tenant: Caller) -> Iterator[Connection]:
    """A transaction of an operator's."""
    with configured(database_name="plans", database_user="map_migrator"):
        made = migrate.handler({"bootstrap": "plans"}, Context())
    operator = Operator(api_keys.PLATFORM, UUID(made["key_id"]), frozenset(), 100)
    with connect(postgres, "map_operator", "plans") as conn, conn.transaction():
        conn.execute(*operator.entry_statement())
        yield conn


def test_an_operator_adds_up_one_tenants_days_without_reading_others(
    operating: Connection, tenant: Caller
) -> None:
    parameters: dict[str, object] = {
        "tenant_id": tenant.tenant_id,
        "created_after": START + timedelta(seconds=ROWS - 100),
        "created_before": None,
        "model": None,
    }
    rows, blocks = cost(explain(operating, "admin/list_usage", parameters))
    assert rows in {100, 200}  # a bitmap names each row before it reads it
    assert blocks <= 40


def test_a_page_by_offset_reads_what_it_skips(api: Connection) -> None:
    """So that the measure above is known to see a deep page that is not cheap."""
    parameters = FILTERS["executions"] | {"after_time": None, "after_id": None, "limit": PAGE}
    first = explain(api, "executions/list", parameters | {"offset": 0})
    deep = explain(api, "executions/list", parameters | {"offset": DEEP})
    assert cost(deep) > tuple(100 * of_first for of_first in cost(first))


def test_a_run_finds_its_agent_and_is_ended_by_key_however_many_there_are(
    api: Connection, tenant: Caller
) -> None:
    # The last of this file: what it leaves behind, though rolled back, others would read.
    [agent] = api.execute("select id from app.agents limit 1").fetchone() or [None]
    fields: dict[str, object] = {"is_queued": False, "lease": 115, "may_create": True}
    fields |= {"agent_id": agent, "model": "gpt-4o", "prompt": "?", **tenant.identity()}
    fields |= {"limits": '{"timeout_seconds": 25}', "reserved_tokens": 0, "reserved_usd": 0}
    fields |= dict.fromkeys(("own_key", "checked", "warning"))
    used: dict[str, object] = {"input_tokens": 1, "output_tokens": 1, "cost_usd": 0, "number": 1}
    ended: dict[str, object] = {"attempt": 1, "status": "completed", "stop_reason": "answered"}
    step = dict.fromkeys(("step_status", "result", "step_response"), None)
    ended |= {**step, "response": "!", "step_status": "completed", **used, **tenant.identity()}
    with api.transaction(force_rollback=True):
        runs = [{"id": uuid4()} for _ in range(3000)]
        for run in runs:
            api.execute(queries.load("runs/create"), fields | run)
        plan = explain(api, "runs/create", fields | {"id": uuid4()})
        assert cost(plan)[1] <= 90
        assert plan["Actual Rows"] == 1
        for run in runs[:10]:
            api.execute(queries.load("runs/end"), ended | run)  # the session has its plan now
        plan = explain(api, "runs/end", ended | runs[-1])
        assert plan["Actual Rows"] == 1
        assert cost(plan)[1] <= 90
