"""The sweep deletes a tenant whose grace period is over, and everything of it."""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier, Event
from statistics import median
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import uuid4

import psycopg
import pytest

from local import backends
from mini_agent.data import redis_client
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from tests.conftest import MakeTenant
from tests.databases import Connection, connect
from tests.integration.client import RUN, Client
from tests.integration.sweeping import count, let_go, sweep, swept

if TYPE_CHECKING:
    from multiprocessing.queues import Queue  # generic for the type checker alone


# 100 000 rows over all tables, one key among them already there.
FILL = """
    insert into app.tools (tenant_id, name, description)
    select %(id)s, 'tool ' || n, 'A tool' from generate_series(1, 4000) n;
    insert into app.agents (tenant_id, name, role, description)
    select %(id)s, 'agent ' || n, 'role', 'An agent' from generate_series(1, 4000) n;
    insert into app.agent_tools (tenant_id, agent_id, tool_id)
    select %(id)s, a.id, t.id from app.agents a, app.tools t
    where a.tenant_id = %(id)s and t.tenant_id = %(id)s
      and split_part(a.name, ' ', 2) = split_part(t.name, ' ', 2);
    insert into app.executions
        (tenant_id, agent_id, agent_name, model, prompt, response, status, created_at)
    select %(id)s, gen_random_uuid(), 'agent', 'gpt-4o', repeat('prompt ', 40),
           repeat(md5(n::text), 40), 'completed', now() - n * interval '1 minute'
    from generate_series(1, 24000) n;
    insert into app.execution_steps
        (tenant_id, execution_id, number, kind, status, attempt, result, response)
    select %(id)s, e.id, n, 'model', 'completed', 1,
           jsonb_build_object('content', repeat(md5(n::text), 40)), '{}'
    from app.executions e, generate_series(1, 2) n where e.tenant_id = %(id)s;
    insert into app.secrets (tenant_id, name, ciphertext)
    select %(id)s, 'secret ' || n, '' from generate_series(1, 1000) n;
    insert into app.idempotency_keys (tenant_id, route, key, fingerprint, body)
    select %(id)s, 'POST /tools', n::text, '', repeat('body ', 100) from generate_series(1, 4000) n;
    insert into app.daily_usage
    select %(id)s, date '2020-01-01' + n, 'gpt-4o', gen_random_uuid(), 'agent', 1, 1, 1, 1
    from generate_series(1, 4000) n;
    insert into app.audit_log (tenant_id, action, target_type, target_id, after)
    select %(id)s, 'tool.created', 'tool', n::text, '{"name": "tool"}'
    from generate_series(1, 6000) n;
    insert into app.api_keys (tenant_id, name, digest, pepper_version, prefix, last_four, scopes)
    select %(id)s, 'key', sha256(n::text::bytea), 1, 'map_live_', 'test', '{}'
    from generate_series(1, 999) n
"""


def tables(admin: Connection) -> list[str]:
    """Return the tables that have a row's tenant."""
    return [
        name
        for (name,) in admin.execute(
            "select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid"
            " where c.relnamespace = 'app'::regnamespace and c.relkind in ('r', 'p')"
            " and a.attname = 'tenant_id' and not a.attisdropped order by 1"
        )
    ]


def traces(admin: Connection, caller: Caller) -> list[tuple[Any, ...]]:
    """Return every row of every table that has the tenant's id anywhere."""
    found = []
    for table in (*tables(admin), "tenants"):
        found += admin.execute(
            f"select '{table}', r.* from app.{table} r where r::text like %s".encode(),
            (f"%{caller.tenant_id}%",),
        ).fetchall()
    return found


@dataclass
class Outcome:
    """How a client's work went: what was refused, and the seconds of each request."""

    refused: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def work(caller: Caller, warm: Barrier, stop: Event, outcome: "Queue[Outcome]") -> None:
    """A process: a tenant's client, which reads and writes until it is stopped."""
    client, told = Client(caller), Outcome()

    def ask(method: str, path: str, body: object = None) -> Any:
        started = time.perf_counter()
        answer = client(method, path, body)
        told.seconds.append(time.perf_counter() - started)
        if answer.status >= 400:
            told.refused.append(f"{method} {path}: {answer.status} {answer.text}")
        return answer.json

    def round_of_requests() -> None:
        text = {"name": str(uuid4()), "description": "One of many"}
        tool = ask("POST", "/tools", text)
        agent = ask("POST", "/agents", text | {"role": "r", "tool_ids": [tool["id"]]})
        run = ask("POST", f"/agents/{agent['id']}/run", RUN)["execution_id"]
        for path in ("/tools", "/agents", "/history", "/usage", f"/history/{run}"):
            ask("GET", path)
        ask("PUT", f"/agents/{agent['id']}", {"tool_ids": []})
        ask("DELETE", f"/tools/{tool['id']}")

    with patch.object(redis_client, "TIMEOUT_SECONDS", 30):  # a busy machine is no outage
        round_of_requests()
        told.seconds.clear()
        warm.wait()
        while not stop.is_set():
            round_of_requests()
    outcome.put(told)


@contextmanager
def at_work(caller: Caller, number: int) -> Iterator[Outcome]:
    """Let clients of a tenant work meanwhile, in processes of their own; tells how it went."""
    spawn = multiprocessing.get_context("spawn")
    warm, stop, outcomes = spawn.Barrier(number + 1), spawn.Event(), spawn.Queue()
    processes = [
        spawn.Process(target=work, args=(caller, warm, stop, outcomes)) for _ in range(number)
    ]
    for process in processes:
        process.start()
    told = Outcome()
    try:
        warm.wait(60)
        yield told
    finally:
        stop.set()
        for _ in processes:
            of_one = outcomes.get(timeout=30)
            told.refused += of_one.refused
            told.seconds += of_one.seconds
        for process in processes:
            process.join(30)
    assert [process.exitcode for process in processes] == [0] * number


def test_a_tenant_of_100_000_rows_goes_while_another_works_and_nothing_of_it_is_left(
    operator: Caller, tenant: Caller, stranger: Caller, admin: Connection
) -> None:
    with admin.transaction():
        admin.execute("set local session_replication_role = replica")  # for speed
        for statement in FILL.split(";"):
            admin.execute(statement.encode(), {"id": tenant.tenant_id})
    sizes = {table: count(admin, table, tenant) for table in tables(admin)}
    assert sum(sizes.values()) == 100_000
    assert all(sizes.values()), "every table has some"
    let_go(admin, tenant)

    with at_work(stranger, 2) as told:
        started, purged = time.perf_counter(), 0
        while done := sweep()["purged_rows"]:
            purged += done
        took = time.perf_counter() - started

    assert purged == 100_000 + 1
    [entry] = traces(admin, tenant)
    assert entry[:2] == ("audit_log", api_keys.PLATFORM)
    assert {"platform", "tenant.purged", str(tenant.tenant_id)} < set(entry[2:])
    assert told.refused == []
    print(
        f"purged in {took:.1f} s; meanwhile {len(told.seconds)} requests, median"
        f" {1000 * median(told.seconds):.0f} ms, slowest {1000 * max(told.seconds):.0f} ms"
    )
    assert len(told.seconds) > 50
    assert max(told.seconds) < 4, "what a lock may be waited for"
    rounds = len(told.seconds) // 10 + 2
    assert count(admin, "executions", stranger) == count(admin, "agents", stranger) == rounds


def test_a_tenant_stays_until_its_grace_is_over(
    operator: Caller, tenant: Caller, stranger: Caller, admin: Connection
) -> None:
    let_go(admin, tenant, "now() + interval '1 minute'")
    admin.execute(
        "update app.tenants set status = 'suspended' where id = %s", (stranger.tenant_id,)
    )
    assert sweep() == swept()
    assert count(admin, "api_keys", tenant) == count(admin, "api_keys", stranger) == 1


def test_a_tenant_that_is_brought_back_in_time_loses_nothing_more(
    operator: Caller, tenant: Caller, admin: Connection, postgres: backends.Server
) -> None:
    let_go(admin, tenant)
    back = (
        "update app.tenants set status = 'active', delete_after = null"
        f" where id = '{tenant.tenant_id}'"
    )
    with connect(postgres, "map_sweeper") as sweeper:
        admin.execute(b"set lock_timeout = '50ms'")
        try:
            with sweeper.transaction(force_rollback=True):
                assert sweeper.execute("select app.purge_tenant(1)").fetchone() == (1,)
                with pytest.raises(psycopg.errors.LockNotAvailable):  # it waits for the batch
                    admin.execute(back.encode())
        finally:
            admin.execute(b"reset lock_timeout")
        admin.execute(back.encode())
        assert sweeper.execute("select app.purge_tenant(1)").fetchone() == (0,)
    assert count(admin, "api_keys", tenant) == 1
    assert count(admin, "audit_log", operator) == 0


def test_tenants_go_one_after_the_other_and_two_sweeps_at_once_do_not_wait_for_each_other(
    operator: Caller, make_tenant: MakeTenant, admin: Connection, postgres: backends.Server
) -> None:
    for _ in range(3):
        let_go(admin, make_tenant())
    with connect(postgres, "map_sweeper") as one, one.transaction():
        assert one.execute("select app.purge_tenant(10)").fetchone() == (2,)
        with connect(postgres, "map_sweeper") as other:
            other.execute("set lock_timeout = '50ms'")
            counts = [other.execute("select app.purge_tenant(10)").fetchone() for _ in range(3)]
    assert counts == [(2,), (2,), (0,)]
    assert admin.execute("select id from app.tenants").fetchall() == [(api_keys.PLATFORM,)]
    assert count(admin, "audit_log", operator) == 3
