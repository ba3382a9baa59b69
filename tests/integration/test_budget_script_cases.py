"""The script of budgets, case by case: rebuilding, reserving, settling, and what it may do."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import NoPermissionError, ResponseError

from local import backends
from mini_agent.data import redis_client

LEASE, DAY = 100, 86_400


@pytest.fixture(scope="module")
def redis(redis_server: backends.Server) -> Iterator[Redis]:
    with Redis(unix_socket_path=redis_server.socket, decode_responses=True) as client:
        yield client


class Tenant:
    """The script's keys of one tenant, with a budget of 1000 tokens on the first of all days."""

    def __init__(self, redis: Redis) -> None:
        self.redis, self.script = redis, redis.register_script(redis_client.script_text("budget"))
        name = f"budget:{{{uuid4()}}}"
        self.keys = [name, f"{name}:calls"]

    def run(self, *arguments: str | int) -> list[int]:
        answer: list[int] = self.script(self.keys, arguments)
        return answer

    def reserve(
        self, call: str, tokens: int = 400, *, now: int = 10, rebuilder: str = "rebuilder"
    ) -> list[int]:
        return self.run(
            "reserve", call, now, now + LEASE, "since", rebuilder, 0, tokens, 1, 1, 1000, ""
        )

    def install(self, *ledger: str | int, rebuilder: str = "rebuilder", day: int = 0) -> list[int]:
        return self.run("install", rebuilder, "since", day, day + DAY, *(ledger or (0, 0)))

    def usage(self) -> dict[str, int]:
        found = self.redis.hgetall(self.keys[0])
        return {name: int(found[name]) for name in ("tokens", "reserved_tokens") if name in found}


@pytest.fixture
def one(redis: Redis) -> Tenant:
    return Tenant(redis)


def test_one_rebuilds_the_ledger_and_the_others_wait(one: Tenant) -> None:
    assert one.reserve("a", rebuilder="first") == [-1, 1]
    assert one.reserve("b", rebuilder="second") == [-1, 0]
    assert one.install(rebuilder="second") == [0]
    assert one.install(rebuilder="first") == [1]
    assert one.install(rebuilder="first") == [0]
    assert one.reserve("b") == [1, 400]


def test_a_ledger_that_was_read_before_redis_forgot_is_not_installed(one: Tenant) -> None:
    assert one.reserve("late", rebuilder="late") == [-1, 1]  # and reads Postgres, slowly
    one.redis.delete(*one.keys)
    assert one.reserve("a") == [-1, 1]
    assert one.install() == [1]
    assert one.reserve("a", 900) == [1, 900]
    one.redis.delete(*one.keys)
    assert one.install(rebuilder="late") == [0], "it knows nothing of a"


def test_a_ledger_that_was_read_before_a_call_was_settled_is_not_installed(one: Tenant) -> None:
    assert one.reserve("b") == [-1, 1]
    one.run("settle", "a", 10, 50, 50)
    assert one.install(0, 0, "a", 400, 400, 110) == [0], "a has no reservation any more"
    assert one.reserve("b", rebuilder="again") == [-1, 1]


def test_pending_calls_keep_their_reservations_in_a_rebuilt_ledger(one: Tenant) -> None:
    one.reserve("b")
    one.install(0, 0, "a", 800, 800, 110)
    assert one.reserve("b") == [0, 1, 200, 0]
    one.run("settle", "a", 10, 50, 50)
    assert one.reserve("b") == [1, 400]


def test_the_ledger_of_an_earlier_budget_is_rebuilt(one: Tenant) -> None:
    one.reserve("a")
    one.install()
    assert one.run("reserve", "a", 10, 110, "later", "m", 0, 400, 1, 1, 1000, "") == [-1, 1]


def test_a_call_that_the_ledger_misses_has_it_rebuilt(one: Tenant) -> None:
    one.reserve("a")
    one.install()
    one.run("settle", "forgotten in a failover", 10, 50, 50)
    assert one.reserve("a") == [-1, 1]


def test_a_call_of_yesterday_does_not_count_for_today(one: Tenant) -> None:
    one.reserve("a", now=DAY)
    one.install(0, 0, "b", 400, 400, DAY + LEASE, day=DAY)
    one.run("settle", "b", DAY - 1, 50, 50)  # finished before midnight, settles now
    assert one.reserve("a", now=DAY) == [-1, 1]


def test_the_ledger_of_yesterday_is_not_that_of_today(one: Tenant) -> None:
    one.reserve("a")
    one.install(1000, 0)
    assert one.reserve("a", now=DAY - 1) == [0, 1, 0, 0]
    one.run("settle", "a", DAY - 1, 0, 0)
    assert one.reserve("a", now=DAY) == [-1, 1]


def test_reserving_or_settling_twice_is_doing_it_once(one: Tenant) -> None:
    one.reserve("a")
    one.install()
    for tokens in (400, 500, 500):
        assert one.reserve("a", tokens) == [1, tokens]
        assert one.usage() == {"tokens": 0, "reserved_tokens": tokens}
    one.run("settle", "a", 10, 50, 50)
    assert one.usage() == {"tokens": 50, "reserved_tokens": 0}
    one.run("settle", "a", 10, 50, 50)
    assert one.usage() == {}, "rebuilt, rather than counted twice"


def test_a_refused_call_is_settled_like_any_other_and_the_ledger_stays(one: Tenant) -> None:
    one.reserve("a")
    one.install(900, 0)
    assert one.reserve("a") == [0, 1, 100, 0]
    one.run("settle", "a", 10, 0, 0)
    assert one.usage() == {"tokens": 900, "reserved_tokens": 0}


def test_a_ledger_whose_ids_of_calls_were_lost_is_rebuilt(one: Tenant) -> None:
    one.reserve("a")
    one.install()
    one.reserve("a")
    one.redis.delete(one.keys[1])
    assert one.reserve("b") == [-1, 1]


def test_nine_million_dollars_are_counted_to_the_nano_dollar(one: Tenant) -> None:
    one.reserve("a")
    limit = 2**52
    one.install(limit - 1_000_001, limit - 1_000_001)
    limits = (1_000_000, 1, 1, limit, limit)
    assert one.run("reserve", "a", 10, 110, "since", "m", 0, *limits) == [1, 1_000_000]
    one.run("settle", "a", 10, 1_000_000, 1_000_000)
    assert one.usage()["tokens"] == limit - 1
    assert one.run("reserve", "b", 10, 110, "since", "m", 1, *limits) == [0, 1, 1, 0]


def test_the_keys_share_a_slot_and_leave_by_themselves(one: Tenant) -> None:
    one.reserve("a")
    assert 0 < one.redis.ttl(one.keys[0]) <= 5, "the rebuilder may die"
    one.install()
    one.reserve("a")
    assert all(DAY < one.redis.ttl(key) <= 2 * DAY for key in one.keys)
    assert key_slot(one.keys[0].encode()) == key_slot(one.keys[1].encode())


# ── Permissions ─────────────────────────────────────────────────────────────────────────────────
COMMANDS = [
    *("hget", "hmget", "hexists", "hset", "hincrby", "hdel"),
    *("zadd", "zrem", "zrange", "expire", "del"),
]
"""What the script needs, besides EVALSHA."""


def test_the_cache_needs_these_commands_and_no_more(
    redis: Redis, redis_server: backends.Server, clean: None
) -> None:
    rules = [f"+{name}" for name in COMMANDS]
    for missing in [*COMMANDS, None]:
        allowed = [rule for rule in rules if rule != f"+{missing}"]
        set_user = ("ACL", "SETUSER", "limited", "reset", "on", "nopass", "~budget:*", "-@all")
        admin: Any = redis  # its types lack options
        admin.execute_command(*set_user, "+@connection", "+@scripting", *allowed)
        with Redis(
            unix_socket_path=redis_server.socket, username="limited", password="x"
        ) as limited:
            if missing is None:
                use_the_script(limited)
            else:
                with pytest.raises(NoPermissionError):
                    use_the_script(limited)
    redis.acl_deluser("limited")


def use_the_script(client: Redis) -> None:
    """Run each of its commands; raises NoPermissionError."""
    script = client.register_script(redis_client.script_text("budget"))
    keys = ["budget:{t}", "budget:{t}:calls"]
    arguments: list[str | int] = [100, 200, "since", "rebuilder", 10, 10, 1, 1, 1000, ""]
    try:
        script(keys, ["drop"])
        assert script(keys, ["reserve", "a", *arguments]) == [-1, 1]
        ledger: list[str | int] = ["since", 0, 86400, 1, 1, "b", 5, 5, 300]
        assert script(keys, ["install", "rebuilder", *ledger]) == [1]
        assert script(keys, ["reserve", "a", *arguments]) == [1, 10]
        assert script(keys, ["settle", "a", 100, 20, 20]) == [1]
    except ResponseError as error:
        # Servers word it in three ways: of Redis 6.2, of Redis 7, and of Valkey.
        if re.search("can't run this command|NOPERM|has no permissions", str(error)):
            raise NoPermissionError from error
        raise
