"""The sweep moves when keys were used from Redis into Postgres."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from redis import Redis

from functions.sweep import service
from functions.sweep.app import handler
from local import backends
from mini_agent.data import queries
from mini_agent.http import rate_limit
from mini_agent.identity.callers import Caller
from tests.conftest import MakeTenant
from tests.databases import Connection, configured, connect
from tests.events import Context
from tests.integration.client import Client
from tests.integration.sweeping import sweep, swept
from tests.waiting import until


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
        assert handler({}, Context()) == swept(recorded_key_uses=1)
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
    before = list(service._key_uses())
    client("GET", "/tools")
    service._delete_from_redis(before)
    [after] = service._key_uses()
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
            until(both_wait)
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
            key: dict[str, Any] = {"tenants": [tenant.tenant_id], "keys": [tenant.key_id]}
            assert conn.execute(NOTE, used | key).fetchone() == (changed,)
            assert last_use(admin, tenant) == now - timedelta(days=known)
