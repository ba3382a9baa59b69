"""The rate limiter while Redis is unavailable, and after."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from uuid import uuid4

import pytest
from redis import Redis

from functions.runs.app import handler as runs
from functions.tools.app import handler as tools
from local import backends
from mini_agent.data import redis_client
from mini_agent.identity.callers import Caller
from mini_agent.settings import settings as mini_agent_settings
from tests.events import Answer, invoke

TOOLS = "/api/v1/tools"
RUN = f"/api/v1/agents/{uuid4()}/run"
RUN_BODY = {"prompt": "Hello", "model": "gpt-4o"}


def reconnect() -> None:
    """Make the limiter connect anew, as in a new sandbox."""
    redis_client.close()
    mini_agent_settings.cache_clear()


PointAt = Callable[[str], None]


@pytest.fixture
def point_at(clean: None) -> Iterator[PointAt]:
    """Return what points the limiter at another address until the test ends."""
    with pytest.MonkeyPatch.context() as env:

        def point(url: str) -> None:
            env.setenv("MAP_REDIS_URL", url)
            reconnect()

        yield point
    reconnect()


@pytest.fixture
def own_redis(tmp_path: Path, point_at: PointAt) -> Iterator[backends.Server]:
    """A Redis that a test may break."""
    with backends.redis(tmp_path / "redis") as server:
        point_at(f"unix://{server.socket}")
        yield server


def timed(caller: Caller) -> tuple[float, Answer]:
    """Return how many milliseconds a catalogue request takes, and its response."""
    started = time.perf_counter()
    answer = invoke(tools, "GET", TOOLS, caller=caller)
    return (time.perf_counter() - started) * 1000, answer


def assert_goes_on_without_redis(caller: Caller, usual: float) -> None:
    """Only the first request after the breaker has closed is slow; a median forgives the machine
    a pause."""
    slow = []
    for _ in range(3):
        redis_client._open_until = 0.0
        milliseconds, answer = timed(caller)
        slow.append(milliseconds)
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit"] == str(caller.requests_per_minute)
        assert "x-ratelimit-remaining" not in answer.headers  # unknown
    assert median(slow) < usual + 150
    assert median(timed(caller)[0] for _ in range(5)) < usual + 20, (
        "no request waits while the breaker is open"
    )
    for open_until in (0.0, redis_client._open_until):
        redis_client._open_until = open_until
        refused = invoke(runs, "POST", RUN, RUN_BODY, caller)
        assert (refused.status, refused.error_code) == (503, "SERVICE_UNAVAILABLE")
        assert refused.json["details"] == {"reason": "rate_limiter"}
        assert int(refused.headers["retry-after"]) >= redis_client.BREAK_SECONDS


def assert_back_to_normal(caller: Caller) -> None:
    deadline = time.monotonic() + redis_client.BREAK_SECONDS + 1
    while "x-ratelimit-remaining" not in timed(caller)[1].headers:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (
        invoke(runs, "POST", RUN, RUN_BODY, caller).status == 403
    )  # no such agent: it was admitted


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
        while not accepts:  # fill the backlog
            client = stack.enter_context(socket.socket())
            client.settimeout(0.2)
            try:
                client.connect(hole.getsockname())
            except TimeoutError:
                break
        point_at(f"redis://127.0.0.1:{hole.getsockname()[1]}")
        assert_goes_on_without_redis(tenant, usual)
