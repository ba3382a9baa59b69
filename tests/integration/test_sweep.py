"""The sweep shares its time between its tasks, and deletes runs that are kept no longer."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest

from functions.sweep import service
from functions.sweep.app import handler
from local import backends
from mini_agent.http import rate_limit
from mini_agent.identity.callers import Caller
from tests.conftest import MakeTenant
from tests.databases import Connection, configured, connect, enter
from tests.events import Context
from tests.integration.client import Client
from tests.integration.sweeping import add_runs, ago, count, keep, let_go, sweep, swept
from tests.waiting import Stopwatch

ADD_RUN = """
    insert into app.executions (agent_id, agent_name, model, prompt, status)
    values (gen_random_uuid(), 'Ann', 'gpt-4', '?', 'running')
"""


# ── Retention ────────────────────────────────────────────────────────────────────────────────────


def test_runs_go_with_their_steps_when_their_tenant_keeps_them_no_longer_and_no_others(
    tenant: Caller, stranger: Caller, admin: Connection
) -> None:
    add_runs(admin, tenant, ago(8), ago(7.01), ago(6.99), ago(1), steps=3)
    for status in ("failed", "cancelled", "queued", "running", "waiting_approval"):
        add_runs(admin, tenant, ago(100), status=status)
    add_runs(admin, stranger, ago(1000), steps=3)
    keep(admin, tenant, 7)

    assert sweep() == swept(deleted_runs=4)
    assert sweep() == swept()

    assert count(admin, "executions", tenant) == 2 + 3
    assert count(admin, "execution_steps", tenant) == 2 * 3
    assert count(admin, "executions", stranger) == 1
    assert count(admin, "execution_steps", stranger) == 3
    assert count(admin, "daily_usage", stranger) == 0


def test_usage_is_the_same_before_and_after_retention_deletes_runs(
    client: Client,
    tenant: Caller,
    stranger: Caller,
    admin: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "BATCH", 7)  # so that batches end within a day
    ann, bob = uuid4(), uuid4()
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for days in (0.5, 1, 2, 3.5, 29, 29.7, 30, 30.2, 31, 60):
        at = midnight - timedelta(days=days)
        hours = [at + timedelta(hours=h, microseconds=h) for h in (0, 1, 7, 13, 19)]
        add_runs(admin, tenant, *hours, agent_id=ann)
        add_runs(admin, tenant, *hours, agent_id=ann, model="gpt-4", status="failed")
        add_runs(admin, tenant, *hours, agent_id=bob, agent_name="Bob")
        add_runs(admin, tenant, at + timedelta(hours=20), agent_id=bob, agent_name="Robert")
        add_runs(admin, stranger, *hours)
    bounds = [ago(60), ago(29.5), ago(30.4), midnight - timedelta(days=29), ago(2.5), ago(0)]
    times = [quote(bound.isoformat()) for bound in bounds]
    asked = [
        *("", f"?agent_id={bob}", "?model=gpt-4"),
        *(f"?created_after={time}" for time in times),
        *(f"?created_after={times[0]}&created_before={time}" for time in times),
    ]

    def usage() -> list[Any]:
        return [client("GET", f"/usage{query}").json for query in asked]

    before = usage()
    assert max(len(report["items"]) for report in before) > 20
    for days in (45, 20, 2, 1):
        keep(admin, tenant, days)
        retired = sweep()["deleted_runs"]
        assert retired > 0
        assert usage() == before


def test_while_old_runs_are_deleted_nobody_waits_who_works_with_new_ones(
    tenant: Caller, admin: Connection, postgres: backends.Server
) -> None:
    add_runs(admin, tenant, *(ago(100) for _ in range(10)), ago(0), steps=2)
    keep(admin, tenant, 7)
    with connect(postgres, "map_sweeper") as sweeper, connect(postgres, "map_api") as api:
        with sweeper.transaction():
            assert sweeper.execute("select app.delete_old_runs(5)").fetchone() == (5,)
            with api.transaction():
                api.execute("set local lock_timeout = '50ms'")
                enter(api, tenant)
                newest = "(select id from app.executions order by created_at desc limit 1)"
                for statement in (
                    "select * from app.executions",
                    f"update app.executions set response = 'new' where id = {newest}",
                    f"update app.execution_steps set comment = '' where execution_id = {newest}",
                    ADD_RUN,
                ):
                    api.execute(statement.encode())
        with api.transaction():  # and the other way round: what somebody works with can wait
            enter(api, tenant)
            api.execute(
                "select from app.executions where created_at < now() - interval '9 days'"
                " limit 2 for update"
            )
            sweeper.execute("set lock_timeout = '50ms'")
            assert sweeper.execute("select app.delete_old_runs(5)").fetchone() == (3,)


# ── The parts together ───────────────────────────────────────────────────────────────────────────


def test_while_redis_is_away_the_sweep_says_so_and_does_the_rest(
    tenant: Caller, admin: Connection, log: StringIO, tmp_path: Path
) -> None:
    add_runs(admin, tenant, ago(100))
    keep(admin, tenant, 7)
    with configured(redis_url=f"unix://{tmp_path}/nobody"):
        assert sweep() == swept(deleted_runs=1)
    assert "uses of keys were not recorded" in log.getvalue()


def test_a_part_that_fails_stops_no_other_and_makes_the_function_fail(
    operator: Caller, tenant: Caller, stranger: Caller, admin: Connection, log: StringIO
) -> None:
    add_runs(admin, tenant, ago(100))
    keep(admin, tenant, 7)
    let_go(admin, stranger)
    right: LiteralString = "execute on function app.delete_old_runs(integer)"
    admin.execute(f"revoke {right} from map_sweeper")
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sweep()
    finally:
        admin.execute(f"grant {right} to map_sweeper")
    assert "a task of the sweep failed" in log.getvalue()
    assert count(admin, "executions", tenant) == 1
    assert count(admin, "api_keys", stranger) == 0


def test_a_part_with_much_to_do_leaves_the_others_their_turn_and_all_end_in_time(
    operator: Caller,
    tenant: Caller,
    stranger: Caller,
    make_tenant: MakeTenant,
    admin: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "BATCH", 1)
    monkeypatch.setattr(service, "TIME_LIMIT_SECONDS", 0.5)
    admin.execute(
        "insert into app.executions"
        " (tenant_id, agent_id, agent_name, model, prompt, status, created_at, expires_at)"
        " select t, gen_random_uuid(), 'Ann', 'gpt-4o', '?', s,"
        "        now() - interval '100 days', now() - interval '1 day'"
        " from unnest(%s::uuid[]) t, unnest(array['running', 'completed']) s,"
        "      generate_series(1, 2000)",
        ([tenant.tenant_id, stranger.tenant_id],),
    )
    keep(admin, tenant, 7)
    let_go(admin, stranger)
    for caller in [make_tenant() for _ in range(800)]:
        rate_limit.admit(caller, required=True)
    with configured(database_user="map_sweeper"), Stopwatch() as watch:
        done = handler({}, Context())
    assert watch.seconds < 2
    for part, all_of_it in {
        "expired_runs": 4000,
        "deleted_runs": 2000,
        "purged_rows": 2000,
        "recorded_key_uses": 800,
    }.items():
        assert 0 < done[part] < all_of_it, part
