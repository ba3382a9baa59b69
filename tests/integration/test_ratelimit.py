"""The rate limiter: what it admits, what it answers, and what happens while Redis is away."""

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.commands.core import Script
from redis.crc import key_slot

from functions.runs.app import handler as runs
from functions.tools.app import handler as tools
from local import backends
from mini_agent.data import redis_client
from mini_agent.errors import RateLimitExceeded
from mini_agent.http import rate_limit
from mini_agent.identity.callers import Caller
from mini_agent.settings import settings as mini_agent_settings
from tests.conftest import MakeTenant
from tests.events import Answer, invoke

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue  # generic for the type checker alone

TOOLS = "/api/v1/tools"
RUN = f"/api/v1/agents/{uuid4()}/run"
ASK = {"prompt": "Hello", "model": "gpt-4o"}
SECOND = 1_000_000  # in microseconds, the script's unit
HOUR_SECONDS = 3600


@pytest.fixture(scope="module")
def redis(redis_server: backends.Server) -> Iterator[Redis]:
    with Redis(unix_socket_path=redis_server.socket) as client:
        yield client


def admitted(caller: Caller) -> bool:
    try:
        rate_limit.admit(caller, required=True)
    except RateLimitExceeded:
        return False
    return True


# ── What it admits ───────────────────────────────────────────────────────────────────────────────


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
    """A process: asks from as many threads as requests, all at once; its clock is off."""
    with (
        clock_off_by(clock_off),
        patch.object(redis_client, "TIMEOUT_SECONDS", 30),  # this counts; it does not hurry
        ThreadPoolExecutor(requests) as pool,
    ):
        redis_client.client()

        def ask(_: int) -> bool:
            together.wait()
            return admitted(caller)

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
    assert admitted(caller)
    with clock_off_by(clock_off):
        assert rate_limit.admit(caller, required=True)["X-RateLimit-Remaining"] == "0"
        with pytest.raises(RateLimitExceeded) as refusal:
            rate_limit.admit(caller, required=True)
    assert refusal.value.retry_after in {59, 60}
    assert not admitted(caller)


def test_a_tenants_flood_takes_nothing_from_another_tenant(make_tenant: MakeTenant) -> None:
    loud, quiet = make_tenant(requests_per_minute=3), make_tenant(requests_per_minute=3)
    assert [admitted(loud) for _ in range(5)] == [True, True, True, False, False]
    assert [admitted(quiet) for _ in range(4)] == [True, True, True, False]


def test_refused_requests_use_no_quota_and_waiting_retry_after_is_enough(
    make_tenant: MakeTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "WINDOW_SECONDS", 1)
    caller = make_tenant(requests_per_minute=3)
    assert [admitted(caller) for _ in range(3)] == [True] * 3
    filled = time.monotonic()
    while time.monotonic() < filled + 0.8:  # were these counted, the window would stay full
        with pytest.raises(RateLimitExceeded) as refusal:
            rate_limit.admit(caller, required=True)
    time.sleep(refusal.value.retry_after or 0)
    assert [admitted(caller) for _ in range(4)] == [True, True, True, False]


def test_a_lost_script_is_loaded_again_without_a_failure_or_a_lost_count(
    make_tenant: MakeTenant, redis: Redis
) -> None:
    caller = make_tenant(requests_per_minute=10)
    for left in (9, 8, 7):
        redis.script_flush()
        answer = invoke(runs, "POST", RUN, ASK, caller)
        assert answer.status == 403  # no such agent: past the limiter, which would answer 503
        assert answer.headers["x-ratelimit-remaining"] == str(left)


# ── The script against a plain model, with a clock of ours ───────────────────────────────────────


@pytest.fixture(scope="module")
def window(redis: Redis) -> Script:
    """The script, told the time (seconds, microseconds) instead of asking the server."""
    source = redis_client.script_text("sliding_window")
    told = source.replace("redis.call('TIME')", "{ARGV[5], ARGV[6]}")
    assert told != source
    return redis.register_script(told)


def ask(
    window: Script, key: str, limit: int, width: int, now: int, key_id: str = "key"
) -> tuple[int, int, int]:
    passed, remaining, wait = window(
        keys=[key, f"{key}:keys"], args=[limit, width, key_id, 60_000, *divmod(now, SECOND)]
    )
    return passed, remaining, wait


class Model:
    """An exact sliding window, said as plainly as possible."""

    def __init__(self) -> None:
        self.admissions: list[int] = []
        self.uses: dict[str, int] = {}

    def ask(self, limit: int, width: int, now: int, key_id: str) -> tuple[int, int, int]:
        now = max(now, *self.admissions, 0)  # a clock set back stands still
        self.admissions = [t for t in self.admissions if t > now - width]
        used = len(self.admissions)
        if used >= limit:
            return 0, 0, sorted(self.admissions)[-limit] + width - now
        self.admissions.append(now)
        self.uses[key_id] = now
        return 1, limit - used - 1, min(self.admissions) + width - now


STEPS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 1), st.integers(-5, 30)),  # how far the clock moves
        st.one_of(st.just(30), st.integers(1, 30)),  # the limit, which may change at any time
        st.sampled_from("abc"),  # the key
    ),
    min_size=20,
    max_size=80,
)


@settings(max_examples=100, deadline=None)
@given(steps=STEPS, width=st.integers(1, 30))
def test_the_script_answers_as_an_exact_sliding_window_would_and_notes_each_keys_last_admission(
    window: Script, redis: Redis, steps: list[tuple[int, int, str]], width: int
) -> None:
    key, now, model = str(uuid4()), 1_800_000_000, Model()
    for move, limit, key_id in steps:
        now += move
        expected = model.ask(limit, width, now, key_id)
        # Whole seconds, since the server's own clock lets the key go with its window.
        passed, remaining, wait = ask(window, key, limit, width * SECOND, now * SECOND, key_id)
        assert (passed, remaining, wait / SECOND) == expected
    noted: dict[Any, Any] = redis.hgetall(f"{key}:keys")
    assert {name.decode(): int(time) / SECOND for name, time in noted.items()} == model.uses


def test_without_a_place_for_it_no_use_is_noted(window: Script, redis: Redis) -> None:
    key = str(uuid4())
    assert window(keys=[key], args=[1, SECOND, "", "", 1_800_000_000, 0]) == [1, 0, SECOND]
    assert redis.keys(f"{key}*") == [key.encode()]


def test_the_window_slides_by_the_microsecond(window: Script) -> None:
    key, start = str(uuid4()), 1_800_000_000 * SECOND
    for now in (start, start + 1):
        assert ask(window, key, 2, SECOND, now)[0] == 1
    assert ask(window, key, 2, SECOND, start + SECOND - 1) == (0, 0, 1)
    assert ask(window, key, 2, SECOND, start + SECOND) == (1, 0, 1)
    assert ask(window, key, 2, SECOND, start + SECOND) == (0, 0, 1)


def test_a_changed_limit_holds_from_the_next_request_on(window: Script) -> None:
    key, start = str(uuid4()), 1_800_000_000 * SECOND
    for second in range(5):
        assert ask(window, key, 5, 60 * SECOND, start + second * SECOND)[0] == 1
    lowered = ask(window, key, 2, 60 * SECOND, start + 10 * SECOND)
    assert lowered == (0, 0, 53 * SECOND), "free when the fourth of five leaves, not the first"
    raised = ask(window, key, 7, 60 * SECOND, start + 10 * SECOND)
    assert raised == (1, 1, 50 * SECOND)


def test_a_limit_of_10_000_costs_what_one_of_100_costs(window: Script, redis: Redis) -> None:
    def microseconds(limit: int) -> float:
        """Return the server's time for a call on a full window: refused, then one out, one in."""
        key, now = str(uuid4()), 1_800_000_000 * SECOND
        for _ in range(limit):
            now += 60 * SECOND // limit
            ask(window, key, limit, 60 * SECOND, now)
        redis.config_resetstat()
        for _ in range(200):
            assert ask(window, key, limit, 60 * SECOND, now)[0] == 0
            now += 60 * SECOND // limit
            assert ask(window, key, limit, 60 * SECOND, now)[0] == 1
        assert (redis.memory_usage(key, samples=0) or 0) < 500 + 20 * limit
        usual = float(redis.info("commandstats")["cmdstat_evalsha"]["usec_per_call"])
        redis.config_resetstat()
        assert ask(window, key, limit, 60 * SECOND, now + 60 * SECOND - 1)[1] == limit - 2
        burst = float(redis.info("commandstats")["cmdstat_evalsha"]["usec"])
        assert burst < 30 * usual, "nearly all leave at once"
        return usual

    assert microseconds(10_000) < 5 * microseconds(100)


# ── What it answers ──────────────────────────────────────────────────────────────────────────────


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
        invoke(runs, "POST", RUN, ASK, caller),
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
    assert [admitted(caller), admitted(refused)] == [True, False]
    noted: dict[Any, Any] = redis.hgetall(rate_limit.key_uses_name(caller.tenant_id))
    [(key_id, microseconds)] = noted.items()
    assert key_id.decode() == str(caller.key_id)
    assert before <= int(microseconds) / SECOND <= redis.time()[0] + 1


# ── While Redis is away ──────────────────────────────────────────────────────────────────────────


def forget() -> None:
    """Be a new sandbox, as far as the limiter goes."""
    redis_client.close()
    mini_agent_settings.cache_clear()


PointAt = Callable[[str], None]


@pytest.fixture
def point_at(clean: None) -> Iterator[PointAt]:
    """Points the limiter at another address until the test ends."""
    with pytest.MonkeyPatch.context() as env:

        def point(url: str) -> None:
            env.setenv("MAP_REDIS_URL", url)
            forget()

        yield point
    forget()


@pytest.fixture
def own_redis(tmp_path: Path, point_at: PointAt) -> Iterator[backends.Server]:
    """A Redis that a test may break."""
    with backends.redis(tmp_path / "redis") as server:
        point_at(f"unix://{server.socket}")
        yield server


def timed(caller: Caller) -> tuple[float, Answer]:
    """Return the milliseconds that a catalogue answer takes, and the answer."""
    started = time.perf_counter()
    answer = invoke(tools, "GET", TOOLS, caller=caller)
    return (time.perf_counter() - started) * 1000, answer


def assert_goes_on_without_redis(caller: Caller, usual: float) -> None:
    """The first request after the breaker has closed is the slow one; the median of some forgives
    this machine a pause."""
    slow = []
    for _ in range(3):
        redis_client._open_until = 0.0
        milliseconds, answer = timed(caller)
        slow.append(milliseconds)
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit"] == str(caller.requests_per_minute)
        assert "x-ratelimit-remaining" not in answer.headers  # unknown, so not told
    assert median(slow) < usual + 150
    assert median(timed(caller)[0] for _ in range(5)) < usual + 20, "meanwhile nobody waits"
    for open_until in (0.0, redis_client._open_until):
        redis_client._open_until = open_until
        refused = invoke(runs, "POST", RUN, ASK, caller)
        assert (refused.status, refused.error_code) == (503, "SERVICE_UNAVAILABLE")
        assert refused.json["details"] == {"reason": "rate_limiter"}
        assert int(refused.headers["retry-after"]) >= redis_client.BREAK_SECONDS


def assert_back_to_normal(caller: Caller) -> None:
    deadline = time.monotonic() + redis_client.BREAK_SECONDS + 1
    while "x-ratelimit-remaining" not in timed(caller)[1].headers:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert invoke(runs, "POST", RUN, ASK, caller).status == 403  # no such agent: it was let in


Change = Callable[[backends.Server], None]


def full(server: backends.Server) -> None:
    with Redis(unix_socket_path=server.socket) as redis:
        redis.config_set("maxmemory", "1")


def roomy(server: backends.Server) -> None:
    with Redis(unix_socket_path=server.socket) as redis:
        redis.config_set("maxmemory", "0")


@pytest.mark.parametrize(
    ("leave", "come_back"),
    [
        pytest.param(lambda s: s.stop(), lambda s: s.start(), id="stopped"),
        pytest.param(lambda s: s.kill(), lambda s: s.start(), id="killed"),
        pytest.param(
            lambda s: os.kill(s.pid, signal.SIGSTOP),
            lambda s: os.kill(s.pid, signal.SIGCONT),
            id="frozen",
        ),
        pytest.param(full, roomy, id="out of memory"),
    ],
)
def test_while_redis_is_away_the_catalogue_goes_on_and_runs_wait_and_then_all_is_normal_by_itself(
    own_redis: backends.Server, tenant: Caller, leave: Change, come_back: Change
) -> None:
    usual = median(timed(tenant)[0] for _ in range(5))
    leave(own_redis)
    try:
        assert_goes_on_without_redis(tenant, usual)
    finally:
        come_back(own_redis)
    assert_back_to_normal(tenant)


@pytest.mark.parametrize("accepts", [True, False], ids=["connects", "does not connect"])
def test_a_redis_that_never_answers_costs_150_ms_at_most(
    point_at: PointAt, tenant: Caller, accepts: bool
) -> None:
    usual = median(timed(tenant)[0] for _ in range(5))
    with ExitStack() as stack:
        hole = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while not accepts:  # fill the queue of those who wait to be accepted
            client = stack.enter_context(socket.socket())
            client.settimeout(0.2)
            try:
                client.connect(hole.getsockname())
            except TimeoutError:
                break
        point_at(f"redis://127.0.0.1:{hole.getsockname()[1]}")
        assert_goes_on_without_redis(tenant, usual)
