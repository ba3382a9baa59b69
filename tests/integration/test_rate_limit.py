"""The rate limiter: what it admits, and what its responses say."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from redis import Redis
from redis.crc import key_slot

from functions.runs.app import handler as runs
from functions.tools.app import handler as tools
from mini_agent.data import redis_client
from mini_agent.errors import RateLimitExceeded
from mini_agent.http import rate_limit
from mini_agent.identity.callers import Caller
from tests.conftest import MakeTenant
from tests.events import invoke

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue  # generic for the type checker alone

TOOLS = "/api/v1/tools"
RUN = f"/api/v1/agents/{uuid4()}/run"
RUN_BODY = {"prompt": "Hello", "model": "gpt-4o"}
SECOND = 1_000_000  # in microseconds, the script's unit
HOUR_SECONDS = 3600


def is_admitted(caller: Caller) -> bool:
    try:
        rate_limit.admit(caller, required=True)
    except RateLimitExceeded:
        return False
    return True


# ── What it admits ────────────────────────────────────────────────────────────────────────────────


@contextmanager
def clock_off_by(seconds: int) -> Iterator[None]:
    true_time = time.time
    with (
        patch("time.time", lambda: true_time() + seconds),
        patch("time.time_ns", lambda: int((true_time() + seconds) * 1e9)),
    ):
        yield


def flood(
    caller: Caller, clock_off: int, together: Barrier, passed: "SimpleQueue[int]", requests: int
) -> None:
    """Run in a process with a wrong clock: ask from as many threads as requests, all at once."""
    with (
        clock_off_by(clock_off),
        patch.object(
            redis_client, "TIMEOUT_SECONDS", 30
        ),  # this test counts, it does not measure time
        ThreadPoolExecutor(requests) as pool,
    ):
        redis_client.client()

        def ask(_: int) -> bool:
            together.wait()
            return is_admitted(caller)

        passed.put(sum(pool.map(ask, range(requests))))


@pytest.mark.parametrize("clock_off", [0, HOUR_SECONDS])
def test_of_500_requests_at_once_from_two_processes_exactly_the_limit_pass_whatever_their_clocks(
    make_tenant: MakeTenant, monkeypatch: pytest.MonkeyPatch, clock_off: int
) -> None:
    monkeypatch.setenv("MAP_REDIS_URL", f"{os.environ['MAP_REDIS_URL']}?max_connections=250")
    caller = make_tenant(requests_per_minute=100)
    spawn = multiprocessing.get_context("spawn")
    together, passed = spawn.Barrier(500), spawn.SimpleQueue()
    processes = [
        spawn.Process(target=flood, args=(caller, off, together, passed, 250))
        for off in (0, clock_off)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert passed.get() + passed.get() == 100


@pytest.mark.parametrize("clock_off", [HOUR_SECONDS, -HOUR_SECONDS])
def test_a_caller_whose_clock_is_off_is_told_what_the_others_are(
    make_tenant: MakeTenant, clock_off: int
) -> None:
    caller = make_tenant(requests_per_minute=2)
    assert is_admitted(caller)
    with clock_off_by(clock_off):
        assert rate_limit.admit(caller, required=True)["X-RateLimit-Remaining"] == "0"
        with pytest.raises(RateLimitExceeded) as refusal:
            rate_limit.admit(caller, required=True)
    assert refusal.value.retry_after in {59, 60}
    assert not is_admitted(caller)


def test_a_tenants_flood_takes_nothing_from_another_tenant(make_tenant: MakeTenant) -> None:
    loud, quiet = make_tenant(requests_per_minute=3), make_tenant(requests_per_minute=3)
    assert [is_admitted(loud) for _ in range(5)] == [True, True, True, False, False]
    assert [is_admitted(quiet) for _ in range(4)] == [True, True, True, False]


def test_refused_requests_use_no_quota_and_waiting_retry_after_is_enough(
    make_tenant: MakeTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "WINDOW_SECONDS", 1)
    caller = make_tenant(requests_per_minute=3)
    assert [is_admitted(caller) for _ in range(3)] == [True] * 3
    filled = time.monotonic()
    while time.monotonic() < filled + 0.8:  # were these counted, the window would stay full
        with pytest.raises(RateLimitExceeded) as refusal:
            rate_limit.admit(caller, required=True)
    time.sleep(refusal.value.retry_after or 0)
    assert [is_admitted(caller) for _ in range(4)] == [True, True, True, False]


def test_a_lost_script_is_loaded_again_without_a_failure_or_a_lost_count(
    make_tenant: MakeTenant, redis: Redis
) -> None:
    caller = make_tenant(requests_per_minute=10)
    for left in (9, 8, 7):
        redis.script_flush()
        answer = invoke(runs, "POST", RUN, RUN_BODY, caller)
        assert (
            answer.status == 403
        )  # no such agent: the limiter, which would answer 503, has passed it
        assert answer.headers["x-ratelimit-remaining"] == str(left)


# ── What it answers ───────────────────────────────────────────────────────────────────────────────


def test_every_authenticated_answer_counts_once_and_tells_the_window(
    make_tenant: MakeTenant,
) -> None:
    caller = make_tenant(requests_per_minute=20)
    tool = {"name": "web", "description": "Search"}
    answers = [
        invoke(tools, "POST", TOOLS, tool, caller),
        invoke(tools, "POST", TOOLS, tool, caller),
        invoke(tools, "GET", f"{TOOLS}/{uuid4()}", caller=caller),
        invoke(tools, "POST", TOOLS, {}, caller),
        invoke(tools, "POST", TOOLS, "x", caller, {"Content-Type": "text/plain"}),
        invoke(tools, "PATCH", TOOLS, caller=caller),
        invoke(runs, "POST", RUN, RUN_BODY, caller),
    ]
    assert [answer.status for answer in answers] == [201, 409, 404, 422, 415, 405, 403]
    for left, answer in zip(range(19, 0, -1), answers, strict=False):
        assert answer.headers["x-ratelimit-limit"] == "20"
        assert answer.headers["x-ratelimit-remaining"] == str(left)
        assert answer.headers["x-ratelimit-window"] == "60"
        assert answer.headers["ratelimit-policy"] == '"default";q=20;w=60'
        assert answer.headers["ratelimit"] in {f'"default";r={left};t={t}' for t in (59, 60)}


def test_a_refusal_says_when_to_come_back(make_tenant: MakeTenant) -> None:
    caller = make_tenant(requests_per_minute=1)
    assert invoke(tools, "GET", TOOLS, caller=caller).status == 200
    refused = invoke(tools, "GET", TOOLS, caller=caller)
    assert (refused.status, refused.error_code) == (429, "RATE_LIMIT_EXCEEDED")
    wait = int(refused.headers["retry-after"])
    assert wait in {59, 60}
    assert refused.json["details"] == {
        "limit": 1,
        "window_seconds": 60,
        "retry_after_seconds": wait,
    }
    assert refused.headers["x-ratelimit-limit"] == "1"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.headers["ratelimit"] == f'"default";r=0;t={wait}'


def test_what_redis_holds_of_a_tenant_lies_in_its_own_slot_and_leaves_by_itself(
    make_tenant: MakeTenant, redis: Redis
) -> None:
    callers = [make_tenant(), make_tenant()]
    for caller in callers * 2:
        rate_limit.admit(caller, required=True)
    seconds = {"": 60, ":keys": 600}  # the window; ten times as long as the sweep may take
    names = {
        f"ratelimit:{{{caller.tenant_id}}}{end}".encode() for caller in callers for end in seconds
    }
    assert set(redis.keys()) == names
    for caller in callers:
        for end, stays in seconds.items():
            name = f"ratelimit:{{{caller.tenant_id}}}{end}".encode()
            assert key_slot(name) == key_slot(str(caller.tenant_id).encode())
            assert (stays - 1) * 1000 < redis.pttl(name) <= stays * 1000


def test_a_key_is_noted_when_it_is_let_in_and_not_when_it_is_refused(
    make_tenant: MakeTenant, redis: Redis
) -> None:
    caller = make_tenant(requests_per_minute=1)
    refused = replace(caller, key_id=uuid4())
    before, _ = redis.time()
    assert [is_admitted(caller), is_admitted(refused)] == [True, False]
    noted: dict[Any, Any] = redis.hgetall(rate_limit.key_uses_name(caller.tenant_id))
    [(key_id, microseconds)] = noted.items()
    assert key_id.decode() == str(caller.key_id)
    assert before <= int(microseconds) / SECOND <= redis.time()[0] + 1
