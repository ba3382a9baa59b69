"""The rate limiter's script, compared with a plain model, with the test's own clock."""

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.commands.core import Script

from mini_agent.data import redis_client

SECOND = 1_000_000  # in microseconds, the script's unit


@pytest.fixture(scope="module")
def window(redis: Redis) -> Script:
    """The script, with the time (seconds, microseconds) as arguments instead of the server's."""
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
    """An exact sliding window, as plain as possible."""

    def __init__(self) -> None:
        self.admissions: list[int] = []
        self.uses: dict[str, int] = {}

    def ask(self, limit: int, width: int, now: int, key_id: str) -> tuple[int, int, int]:
        now = max(now, *self.admissions, 0)  # a clock that was set back stands still
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
        # Whole seconds: the key still expires by the server's own clock.
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
        """Return the server's time for a call on a full window, half of them refused."""
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
