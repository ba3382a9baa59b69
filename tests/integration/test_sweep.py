"""What the sweep does each minute: runs that are kept no longer, tenants that go, uses of keys."""

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any, LiteralString
from unittest.mock import patch
from urllib.parse import quote
from uuid import UUID, uuid4

import psycopg
import pytest
from redis import Redis

from functions.sweep import service
from functions.sweep.app import handler
from local import backends
from mini_agent.data import queries, redis_client
from mini_agent.http import rate_limit
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from tests.conftest import MakeTenant
from tests.databases import Connection, configured, connect, enter
from tests.events import Context
from tests.integration.client import RUN, Client

if TYPE_CHECKING:
    from multiprocessing.queues import Queue  # generic for the type checker alone

NOTHING = {"ended": 0, "forgotten": 0, "retired": 0, "purged": 0, "noted": 0}


def sweep() -> dict[str, int]:
    """Sweep once, as the function does, and return what it did but for the noted uses."""
    with configured(database_user="map_sweeper"):
        done: dict[str, int] = handler({}, Context())
    return done | {"noted": 0}


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


ADD_RUN = """
    insert into app.executions (agent_id, agent_name, model, prompt, status)
    values (gen_random_uuid(), 'Ann', 'gpt-4', '?', 'running')
"""


def ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


# ── Retention ────────────────────────────────────────────────────────────────────────────────────


def test_runs_go_with_their_steps_when_their_tenant_keeps_them_no_longer_and_no_others(
    tenant: Caller, stranger: Caller, admin: Connection
) -> None:
    add_runs(admin, tenant, ago(8), ago(7.01), ago(6.99), ago(1), steps=3)
    for status in ("failed", "cancelled", "queued", "running", "waiting_approval"):
        add_runs(admin, tenant, ago(100), status=status)
    add_runs(admin, stranger, ago(1000), steps=3)
    keep(admin, tenant, 7)

    assert sweep() == swept(retired=4)
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
        retired = sweep()["retired"]
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


# ── Tenants that go ──────────────────────────────────────────────────────────────────────────────

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
class Told:
    """How a client's work went: what was refused, and the seconds of each request."""

    refused: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def work(caller: Caller, warm: Barrier, stop: Event, outcome: "Queue[Told]") -> None:
    """A process: a tenant's client, which reads and writes until it is stopped."""
    client, told = Client(caller), Told()

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
def at_work(caller: Caller, number: int) -> Iterator[Told]:
    """Let clients of a tenant work meanwhile, in processes of their own; tells how it went."""
    spawn = multiprocessing.get_context("spawn")
    warm, stop, outcomes = spawn.Barrier(number + 1), spawn.Event(), spawn.Queue()
    processes = [
        spawn.Process(target=work, args=(caller, warm, stop, outcomes)) for _ in range(number)
    ]
    for process in processes:
        process.start()
    told = Told()
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
        while done := sweep()["purged"]:
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


# ── When keys were used ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def redis(redis_server: backends.Server) -> Iterator[Redis]:
    with Redis(unix_socket_path=redis_server.socket) as client:
        yield client


def last_use(admin: Connection, caller: Caller) -> datetime | None:
    [used_at] = admin.execute(
        "select last_used_at from app.api_keys where id = %s", (caller.key_id,)
    ).fetchone() or [None]
    return used_at


def noted(redis: Redis, caller: Caller) -> dict[Any, Any]:
    return redis.hgetall(rate_limit.key_uses_name(caller.tenant_id))


def test_the_use_of_a_key_is_in_the_database_after_the_next_sweep_and_gone_from_redis(
    client: Client, tenant: Caller, stranger: Caller, admin: Connection, redis: Redis
) -> None:
    started = datetime.now(UTC)
    client("GET", "/tools")
    assert last_use(admin, tenant) is None
    with configured(database_user="map_sweeper"):
        assert handler({}, Context()) == swept(noted=1)
        assert handler({}, Context()) == swept()
    used = last_use(admin, tenant)
    assert used
    assert started <= used <= datetime.now(UTC)
    assert last_use(admin, stranger) is None
    assert noted(redis, tenant) == {}
    client("GET", "/tools")
    sweep()
    assert (last_use(admin, tenant) or used) > used


def test_a_use_while_the_sweep_is_at_it_is_noted_by_the_next(
    client: Client, tenant: Caller, admin: Connection, redis: Redis
) -> None:
    client("GET", "/tools")
    before = list(service._uses())
    client("GET", "/tools")
    service._forget(before)
    [after] = service._uses()
    assert [after] != before
    sweep()
    assert last_use(admin, tenant) == after.time


NOTE = queries.load("sweep/record_key_use")


def test_a_use_becomes_no_earlier_in_whatever_order_uses_come(
    make_tenant: MakeTenant, admin: Connection, postgres: backends.Server
) -> None:
    """Many sweeps at once, each with the same keys in another order and at other times."""
    callers = [make_tenant() for _ in range(40)]
    start, latest = datetime(2026, 1, 1, tzinfo=UTC), 30 * 8

    def note(seed: int) -> None:
        random = Random(seed)
        times = list(range(seed, latest + 1, 8))
        random.shuffle(times)
        with connect(postgres, "map_sweeper") as conn:
            for second in times:
                shuffled = random.sample(callers, len(callers))
                conn.execute(
                    NOTE,
                    {
                        "tenants": [caller.tenant_id for caller in shuffled],
                        "keys": [caller.key_id for caller in shuffled],
                        "times": [start + timedelta(seconds=second) for _ in shuffled],
                    },
                )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(note, range(1, 9)))
    assert {last_use(admin, caller) for caller in callers} == {start + timedelta(seconds=latest)}


def test_two_sweeps_that_note_the_same_keys_in_other_orders_do_not_stop_each_other(
    make_tenant: MakeTenant, admin: Connection, postgres: backends.Server
) -> None:
    low, middle, high = sorted((make_tenant() for _ in range(3)), key=lambda c: c.tenant_id)
    admin.execute(  # enough for Postgres to look keys up one by one, as they are asked for
        "insert into app.api_keys"
        " (tenant_id, name, digest, pepper_version, prefix, last_four, scopes)"
        " select %s, 'key', sha256(n::text::bytea), 1, 'map_live_', 'test', '{}'"
        " from generate_series(1, 5000) n",
        (low.tenant_id,),
    )
    admin.execute("analyze app.api_keys")

    def note(callers: list[Caller]) -> None:
        ids = {"tenants": [c.tenant_id for c in callers], "keys": [c.key_id for c in callers]}
        with connect(postgres, "map_sweeper") as conn:
            conn.execute("set lock_timeout = 0")
            conn.execute(NOTE, ids | {"times": [datetime.now(UTC) for _ in callers]})

    def both_wait() -> bool:
        waiting = "select from pg_stat_activity where usename = %s and wait_event_type = 'Lock'"
        return admin.execute(waiting, ("map_sweeper",)).rowcount == 2

    with ThreadPoolExecutor(2) as pool:
        with connect(postgres, "postgres") as conn, conn.transaction():
            conn.execute("select from app.api_keys where id = %s for update", (middle.key_id,))
            orders = [[low, middle, high], [high, middle, low]]
            sweeps = [pool.submit(note, order) for order in orders]
            deadline = time.monotonic() + 20
            while not both_wait():
                assert time.monotonic() < deadline
                time.sleep(0.01)
        for one in sweeps:
            one.result()
    assert all(last_use(admin, caller) for caller in (low, middle, high))


def test_a_use_that_is_older_than_what_is_known_changes_nothing(
    tenant: Caller, admin: Connection, postgres: backends.Server
) -> None:
    now = datetime.now(UTC)
    with connect(postgres, "map_sweeper") as conn:
        for days, changed, known in ((3, 1, 3), (1, 1, 1), (2, 0, 1), (1, 0, 1)):
            used = {"times": [now - timedelta(days=days)]}
            key: dict[str, list[UUID]] = {"tenants": [tenant.tenant_id], "keys": [tenant.key_id]}
            assert conn.execute(NOTE, used | key).fetchone() == (changed,)
            assert last_use(admin, tenant) == now - timedelta(days=known)


# ── The parts together ───────────────────────────────────────────────────────────────────────────


def test_while_redis_is_away_the_sweep_says_so_and_does_the_rest(
    tenant: Caller, admin: Connection, log: StringIO, tmp_path: Path
) -> None:
    add_runs(admin, tenant, ago(100))
    keep(admin, tenant, 7)
    with configured(redis_url=f"unix://{tmp_path}/nobody"):
        assert sweep() == swept(retired=1)
    assert "uses of keys stay unnoted" in log.getvalue()


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
    assert "a part of the sweep failed" in log.getvalue()
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
    monkeypatch.setattr(service, "SECONDS", 0.5)
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
    for caller in [make_tenant() for _ in range(200)]:
        rate_limit.admit(caller, required=True)
    started = time.monotonic()
    with configured(database_user="map_sweeper"):
        done = handler({}, Context())
    assert time.monotonic() - started < 2
    for part, all_of_it in {"ended": 4000, "retired": 2000, "purged": 2000, "noted": 200}.items():
        assert 0 < done[part] < all_of_it, part
