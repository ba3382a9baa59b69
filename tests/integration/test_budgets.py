"""Budgets: what is refused, what is told of it, and that the books are right whatever is lost."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from functions.runs import definitions
from functions.runs.engine import budgets, journal
from functions.runs.engine.records import BudgetLedger
from functions.runs.llm.catalogue import Price
from functions.runs.llm.messages import (
    ModelRequest,
    ProviderError,
    ToolCall,
    ToolReturn,
    ToolSpec,
    Turn,
)
from functions.runs.llm.messages import ModelResponse as Said
from local import backends
from mini_agent.data import db, redis_client
from tests.conftest import Connection, MakeTenant
from tests.databases import configured
from tests.events import Answer, uuid
from tests.fakes import Behaviour, FakeOpenAI, say, used
from tests.integration import running
from tests.integration.client import RUN, Client
from tests.integration.running import Engine, Model, Outside, ask_for, scripted
from tests.integration.sandboxes import at_once

OUTPUT = 100
"""Tokens of an answer, where a test says so: fewer than a grant is cut down to."""
SMALL = {"max_tokens": OUTPUT}
COMMANDS = [
    *("hget", "hmget", "hexists", "hset", "hincrby", "hdel"),
    *("zadd", "zrem", "zrange", "expire", "del"),
]
"""What the script needs, besides EVALSHA."""


class Crash(BaseException):
    """The process dies: nothing after it is done."""


@pytest.fixture
def redis(redis_server: backends.Server) -> Iterator[Redis]:
    with Redis(unix_socket_path=redis_server.socket, decode_responses=True) as client:
        yield client


@pytest.fixture(autouse=True)
def patience(postgres: backends.Server, redis_server: backends.Server) -> Iterator[None]:
    """A busy machine is no outage."""
    with configured():
        yield


@pytest.fixture
def model() -> Model:
    return Model(running.say())


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, model: Model, outside: Outside) -> Iterator[Engine]:
    with scripted(monkeypatch, model, outside) as engine:
        yield engine


@pytest.fixture
def agent(client: Client, admin: Connection) -> dict[str, Any]:
    tool = client.tool("plain")
    admin.execute("update app.tools set endpoint = '{}'")
    return client.agent(tool_ids=[tool["id"]])


def limit(admin: Connection, **limits: object) -> None:
    """Give all tenants limits, as if they had had them for long."""
    for name, value in limits.items():
        admin.execute(f"update app.tenants set {name} = %s".encode(), (value,))
    admin.execute(
        "update app.tenants set budgeted_since = budgeted_since - interval '1 hour'"
        " where budgeted_since > now() - interval '1 minute'"
    )


def post(
    client: Client,
    agent: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> Answer:
    return client("POST", f"/agents/{agent['id']}/run", RUN | SMALL | fields, headers)


def background(client: Client, agent: Mapping[str, Any], **fields: Any) -> Answer:
    return post(client, agent, {"Prefer": "respond-async"}, **fields)


def work_off(client: Client, agent: Mapping[str, Any], engine: Engine, **fields: Any) -> None:
    """Run an agent in the background, which a model may see requests meanwhile in."""
    assert background(client, agent, **fields).status == 202
    engine.work(engine.queued.pop())


def most(client: Client, agent: Mapping[str, Any], admin: Connection) -> tuple[int, Decimal]:
    """Return what a run's first call may use at most, and forget the run."""
    assert post(client, agent).status == 200
    [row] = admin.execute(
        "select reserved_tokens, reserved_usd from app.execution_steps where number = 1"
    ).fetchall()
    admin.execute("truncate app.execution_steps, app.executions")
    return row


def count(admin: Connection, table: str) -> int:
    [found] = admin.execute(f"select count(*) from app.{table}".encode()).fetchone() or [0]
    return int(found)


def in_postgres(client: Client) -> BudgetLedger:
    assert client.caller
    [books] = db.read(client.caller, db.Query("runs/get_budget_ledger", {}, BudgetLedger))
    return books


def in_redis(client: Client, redis: Redis) -> dict[str, str]:
    assert client.caller
    found = redis.hgetall(f"budget:{{{client.caller.tenant_id}}}")
    return {str(name): str(value) for name, value in found.items()}


def assert_the_books_agree(client: Client, redis: Redis) -> None:
    """Used is the same in both, and nothing is held."""
    theirs, ours = in_postgres(client), in_redis(client, redis)
    assert theirs.pending_calls == []
    assert (int(ours["tokens"]), int(ours["nano"])) == (theirs.tokens, int(theirs.usd * 10**9))
    assert (ours["held_tokens"], ours["held_nano"]) == ("0", "0")
    assert not [name for name in ours if ":" in name]
    assert client.caller
    assert not redis.exists(f"budget:{{{client.caller.tenant_id}}}:open")


def tomorrow() -> str:
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0) + timedelta(days=1)
    return day.strftime("%Y-%m-%dT%H:%M:%SZ")


def next_month() -> str:
    day = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0) + timedelta(days=32)
    return day.replace(day=1).strftime("%Y-%m-%dT%H:%M:%SZ")


# ── What a call may use at most ──────────────────────────────────────────────────────────────────


def test_every_text_that_is_sent_counts_its_bytes_and_every_part_a_little_more() -> None:
    asked = ModelRequest(
        "instructions",
        "prömpt\ud800",
        [ToolSpec("tool", "describes", {"type": "object"})],
        [
            Turn(
                Said("not sent", [], "tool_calls", 1, 1, {"sent": "state"}),
                [ToolReturn(ToolCall("id", "tool", {"not": "sent"}), "content")],
            )
        ],
    )
    found = budgets.usage_bound(Price(Decimal("2.5"), Decimal(10)), asked, 200)
    parts: list[object] = [
        "instructions",
        "prömptxxx",
        {"name": "tool", "description": "describes", "parameters": {"type": "object"}},
        {"sent": "state"},
        ["id", "tool", "content"],
    ]
    size = sum(len(json.dumps(part, ensure_ascii=False).encode()) for part in parts)
    assert found.input_tokens == size + 5 * 32 + 1024
    assert found.tokens == found.input_tokens + 200
    assert found.usd == (found.input_tokens * Decimal("2.5") + 200 * 10) / 1_000_000


def test_a_call_is_written_down_with_the_most_that_it_may_use_budgets_or_not(
    client: Client, agent: dict[str, Any], engine: Engine, admin: Connection, redis: Redis
) -> None:
    tokens, usd = most(client, agent, admin)
    assert tokens > OUTPUT + len(RUN["prompt"])
    assert usd == (Decimal(tokens - OUTPUT) * Decimal("2.5") + OUTPUT * 10) / 1_000_000
    assert in_redis(client, redis) == {}


def test_the_mock_is_free(
    client: Client, agent: dict[str, Any], admin: Connection, redis: Redis
) -> None:
    limit(admin, tokens_per_day=0, spend_per_month_usd=0)
    assert post(client, agent).status == 200
    assert in_redis(client, redis) == {}
    reserved = admin.execute("select reserved_tokens from app.execution_steps").fetchall()
    assert reserved == [(0,)]


# ── What is refused ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", [post, background], ids=["waits", "in the background"])
def test_without_enough_left_a_run_is_refused_before_it_is_one(
    client: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    redis: Redis,
    way: Callable[..., Answer],
) -> None:
    tokens, _ = most(client, agent, admin)
    limit(admin, tokens_per_day=tokens + 14)
    assert post(client, agent).status == 200  # uses 10 and 5
    refused = way(client, agent)
    assert (refused.status, refused.error_code) == (402, "BUDGET_EXCEEDED")
    assert refused.json["details"] == {
        "budget": "tokens_per_day",
        "limit": tokens + 14,
        "left": tokens - 1,
        "renews_at": tomorrow(),
    }
    assert (count(admin, "executions"), engine.queued) == (1, [])
    assert_the_books_agree(client, redis)


def test_a_budget_of_dollars_is_told_in_dollars(
    client: Client, agent: dict[str, Any], engine: Engine, admin: Connection, redis: Redis
) -> None:
    _, usd = most(client, agent, admin)
    used_usd = (10 * Decimal("2.5") + 5 * 10) / 1_000_000
    budgeted = usd.quantize(Decimal("0.000001")) + Decimal("0.000001")
    limit(admin, spend_per_month_usd=budgeted)
    assert post(client, agent).status == 200
    refused = post(client, agent)
    assert refused.status == 402
    assert refused.json["details"] == {
        "budget": "spend_per_month_usd",
        "limit": float(budgeted),
        "left": float(budgeted - used_usd),
        "renews_at": next_month(),
    }
    assert_the_books_agree(client, redis)


def test_of_two_budgets_the_one_with_less_room_decides(
    client: Client, agent: dict[str, Any], engine: Engine, admin: Connection
) -> None:
    limit(admin, tokens_per_day=0, spend_per_month_usd=1)
    assert post(client, agent).json["details"]["budget"] == "tokens_per_day"
    limit(admin, tokens_per_day=1_000_000, spend_per_month_usd=0)
    assert post(client, agent).json["details"]["budget"] == "spend_per_month_usd"


def test_where_less_is_left_the_answer_may_be_shorter_but_not_too_short(
    client: Client, agent: dict[str, Any], engine: Engine, admin: Connection, model: Model
) -> None:
    tokens, _ = most(client, agent, admin)
    of_input = tokens - OUTPUT
    for left, status in ((of_input + 5000, 200), (of_input + 256, 200), (of_input + 255, 402)):
        limit(admin, tokens_per_day=left)
        assert post(client, agent, max_tokens=100_000).status == status
        admin.execute("truncate app.execution_steps, app.executions")
        limit(admin, tokens_per_day=None)  # what was used is forgotten with it
    usd = (of_input * Decimal("2.5") + 300 * 10) / 1_000_000
    limit(admin, tokens_per_day=of_input + 400, spend_per_month_usd=usd)
    assert post(client, agent, max_tokens=100_000).status == 200
    assert model.granted[1:] == [4096, 256, pytest.approx(300, abs=1)]


def test_a_run_that_is_refused_on_its_way_ends_there_and_says_so_everywhere(
    client: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    redis: Redis,
    model: Model,
) -> None:
    tokens, _ = most(client, agent, admin)
    limit(admin, tokens_per_day=tokens + 10)
    model.script = [ask_for("plain")]
    key = {"Idempotency-Key": "key"}
    first = post(client, agent, key)
    assert (first.status, first.error_code) == (402, "BUDGET_EXCEEDED")
    details = first.json["details"]
    execution = f"/executions/{details.pop('execution_id')}"
    assert details == {
        "budget": "tokens_per_day",
        "limit": tokens + 10,
        "left": tokens + 10 - 15,
        "renews_at": tomorrow(),
    }
    run = client("GET", execution).json
    assert (run["status"], run["stop_reason"]) == ("failed", "budget_exceeded")
    steps = client("GET", f"{execution}/steps").json["items"]
    assert [(step["kind"], step["status"]) for step in steps] == [
        ("model", "completed"),
        ("tool", "completed"),
        ("model", "refused"),
    ]
    assert steps[-1]["result"] == {"reason": "budget_exceeded", **details}
    events = client("GET", f"{execution}/events").text
    assert '"stop_reason": "budget_exceeded"' in events
    again = post(client, agent, key)
    assert (again.status, again.text) == (402, first.text)
    assert again.headers["idempotency-replayed"] == "true"
    assert len(model.asked) == 2
    assert_the_books_agree(client, redis)


def test_a_run_sent_again_gets_its_answer_though_nothing_is_left(
    client: Client, agent: dict[str, Any], engine: Engine, admin: Connection
) -> None:
    limit(admin, tokens_per_day=1_000_000, runs_per_minute=100)
    key = {"Idempotency-Key": "key"}
    first = post(client, agent, key)
    limit(admin, tokens_per_day=0)
    again = post(client, agent, key)
    assert (again.status, again.text) == (200, first.text)
    limit(admin, runs_per_minute=1)
    assert post(client, agent, key).status == 200
    assert post(client, agent, key, prompt="Another?").error_code == "IDEMPOTENCY_KEY_REUSED"
    assert post(client, agent, {"Idempotency-Key": "new"}).status == 429
    assert count(admin, "idempotency_keys") == 1


def test_a_refusal_leaves_the_key_free(
    client: Client, agent: dict[str, Any], engine: Engine, admin: Connection
) -> None:
    key = {"Idempotency-Key": "key"}
    limit(admin, tokens_per_day=0)
    assert post(client, agent, key).status == 402
    limit(admin, tokens_per_day=1_000_000)
    run = post(client, agent, key)
    assert (run.status, "idempotency-replayed" in run.headers) == (200, False)


def test_a_changed_budget_holds_at_once_for_runs_in_the_background_too(
    client: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    redis: Redis,
    model: Model,
) -> None:
    limit(admin, tokens_per_day=1_000_000)
    for _ in range(2):
        assert background(client, agent, max_tokens=1000).status == 202

    def lowers(_: ModelRequest) -> Said:
        limit(admin, tokens_per_day=20)
        return ask_for("plain")

    model.script = [lowers]
    over = engine.work(engine.queued.pop())
    assert over
    assert (over.status, over.stop_reason) == ("failed", "budget_exceeded")
    assert len(model.asked) == 1
    assert post(client, agent).status == 402
    limit(admin, tokens_per_day=1_000_000)
    model.script = [running.say()]
    over = engine.work(engine.queued.pop())
    assert over
    assert over.status == "completed"
    assert post(client, agent).status == 200
    assert_the_books_agree(client, redis)


def test_a_failed_call_and_a_cancelled_run_hold_nothing_any_more(
    client: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    redis: Redis,
    model: Model,
) -> None:
    limit(admin, tokens_per_day=1_000_000)
    model.script = [ProviderError("rate_limited", "Too many")]
    assert post(client, agent).status == 502
    assert_the_books_agree(client, redis)

    def cancels(_: ModelRequest) -> Said:
        path = f"/executions/{run.execution_id}/cancel"
        assert client("POST", path).status == 200
        return running.say()

    model.script = [cancels]
    assert background(client, agent).status == 202
    run = engine.queued.pop()
    over = engine.work(run)
    assert over
    assert over.status == "cancelled"
    model.script = [running.say()]
    assert post(client, agent).status == 200
    assert in_postgres(client).tokens == 30
    assert_the_books_agree(client, redis)


# ── What is lost ─────────────────────────────────────────────────────────────────────────────────


def test_what_redis_forgets_is_made_anew_with_what_is_under_way(
    client: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    redis: Redis,
    model: Model,
) -> None:
    tokens, _ = most(client, agent, admin)
    limit(admin, tokens_per_day=tokens + 14)
    left: list[int] = []

    def meanwhile(_: ModelRequest) -> Said:
        for _again in range(2):
            redis.flushall()
            refused = post(client, agent)
            assert refused.status == 402
            left.append(refused.json["details"]["left"])
        return running.say()

    model.script = [meanwhile]
    work_off(client, agent, engine)
    assert left == [14, 14]
    assert_the_books_agree(client, redis)
    redis.flushall()
    refused = post(client, agent)
    assert (refused.status, refused.json["details"]["left"]) == (402, tokens - 1)
    assert_the_books_agree(client, redis)


def test_a_cancelled_run_whose_call_is_under_way_is_not_forgotten(
    client: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    redis: Redis,
    model: Model,
) -> None:
    tokens, _ = most(client, agent, admin)
    limit(admin, tokens_per_day=tokens)

    def cancels(_: ModelRequest) -> Said:
        admin.execute("update app.executions set status = 'cancelled', finished_at = now()")
        redis.flushall()
        assert post(client, agent).status == 402
        return running.say()

    model.script = [cancels]
    work_off(client, agent, engine)
    assert in_postgres(client).tokens == 15


def test_a_worker_that_dies_holds_its_reservation_until_its_lease_is_over(
    client: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    redis: Redis,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens, _ = most(client, agent, admin)
    limit(admin, tokens_per_day=tokens + 50)
    monkeypatch.setattr(journal, "LEASE_SECONDS", 1)

    def dies(_: ModelRequest) -> Said:
        raise Crash

    model.script = [dies]
    with pytest.raises(Crash):
        work_off(client, agent, engine, timeout_seconds=1)
    model.script = [running.say()]
    assert post(client, agent).status == 402
    assert in_redis(client, redis)["held_tokens"] == str(tokens)
    time.sleep(3.1)
    assert post(client, agent).status == 200
    assert_the_books_agree(client, redis)


def test_an_end_that_redis_did_not_hear_of_is_found_when_the_lease_is_over(
    client: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit(admin, tokens_per_day=1_000_000)
    monkeypatch.setattr(journal, "LEASE_SECONDS", 0)
    with monkeypatch.context() as patched:
        patched.setattr(budgets, "settle", lambda *_: None)
        assert post(client, agent, timeout_seconds=1).status == 200
    assert in_redis(client, redis)["tokens"] == "0"
    time.sleep(2.1)
    assert post(client, agent).status == 200
    assert in_postgres(client).tokens == 30
    assert_the_books_agree(client, redis)


def test_an_attempt_that_another_has_overtaken_has_no_say_in_the_books(
    client: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    redis: Redis,
    model: Model,
) -> None:
    limit(admin, tokens_per_day=1_000_000)
    assert background(client, agent).status == 202
    [run] = engine.queued

    def overtaken(_: ModelRequest) -> Said:
        model.script = [running.say("The later one")]
        over = engine.work(run)
        assert over
        return running.say("The earlier one", input_tokens=1000)

    model.script = [overtaken]
    over = engine.work(run)
    assert over
    assert over.response == "The later one"
    assert post(client, agent).status == 200
    assert in_postgres(client).tokens == 30
    assert_the_books_agree(client, redis)


def test_while_redis_is_away_a_run_waits_a_while_and_then_fails(
    client: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budgets, "MAX_WAIT_SECONDS", 0.5)
    limit(admin, tokens_per_day=1_000_000)
    with (
        backends.redis(tmp_path / "redis") as own,
        configured(redis_url=f"unix://{own.socket}"),
    ):

        def comes_back(_: ModelRequest) -> Said:
            own.stop()
            return ask_for("plain")

        model.script = [comes_back]
        refused = post(client, agent, max_tokens=1000)
        assert (refused.status, refused.error_code) == (503, "SERVICE_UNAVAILABLE")
        execution = refused.json["details"]["execution_id"]
        assert refused.json["details"]["reason"] == "budget"
        assert "retry-after" in refused.headers
        run = client("GET", f"/executions/{execution}").json
        assert (run["status"], run["stop_reason"]) == ("failed", "budget_unavailable")
        assert len(model.asked) == 1
        own.start()
        redis_client._open_until = 0.0
        model.script = [running.say()]
        assert post(client, agent).status == 200
        assert in_postgres(client).tokens == 30


# ── What passes ──────────────────────────────────────────────────────────────────────────────────


def test_a_new_day_and_a_new_month_begin_with_nothing_used(
    client: Client, agent: dict[str, Any], engine: Engine, admin: Connection, redis: Redis
) -> None:
    tokens, usd = most(client, agent, admin)
    limit(admin, tokens_per_day=tokens)
    assert post(client, agent).status == 200

    def time_passes(days: int) -> None:
        """All that is known is so much older."""
        admin.execute(
            "update app.execution_steps set finished_at = finished_at - make_interval(days => %s)",
            (days,),
        )
        [key] = redis.keys("budget:*}")
        for name in ("day", "ends"):
            redis.hincrby(key, name, -86400 * days)

    assert post(client, agent).status == 402
    time_passes(1)
    assert post(client, agent).status == 200
    assert in_redis(client, redis)["tokens"] == "15"
    assert post(client, agent).status == 402
    limit(admin, tokens_per_day=None, spend_per_month_usd=usd.quantize(Decimal("0.000001")))
    time_passes(1)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    same_month = yesterday.month == datetime.now(UTC).month
    assert post(client, agent).status == (402 if same_month else 200)
    time_passes(31)
    assert post(client, agent).status == 200
    assert_the_books_agree(client, redis)


def test_what_was_deleted_of_this_month_is_still_spent(
    client: Client, agent: dict[str, Any], engine: Engine, admin: Connection
) -> None:
    assert client.caller
    limit(admin, spend_per_month_usd=1)
    kept = (
        "insert into app.daily_usage values (%s, current_date - %s::integer, 'gpt-4o', %s, 'Ann',"
        " 1, 1, 1, %s)"
    )
    admin.execute(kept, (client.caller.tenant_id, 40, uuid(1), 5))
    assert post(client, agent).status == 200
    admin.execute(kept, (client.caller.tenant_id, 0, uuid(1), Decimal("0.9995")))
    limit(admin, spend_per_month_usd=None)
    limit(admin, spend_per_month_usd=1)
    refused = post(client, agent)
    assert refused.status == 402
    assert refused.json["details"]["left"] == pytest.approx(0.0005 - 0.000075)


def test_what_was_used_while_there_was_no_budget_counts_when_there_is_one_again(
    client: Client, agent: dict[str, Any], engine: Engine, admin: Connection, redis: Redis
) -> None:
    tokens, _ = most(client, agent, admin)
    limit(admin, tokens_per_day=tokens + 20)
    assert post(client, agent).status == 200
    limit(admin, tokens_per_day=None)
    assert post(client, agent).status == 200
    limit(admin, tokens_per_day=tokens + 20)
    refused = post(client, agent)
    assert (refused.status, refused.json["details"]["left"]) == (402, tokens - 10)
    assert_the_books_agree(client, redis)


def test_a_call_that_began_without_a_budget_counts_for_the_first_one(
    client: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    redis: Redis,
    model: Model,
) -> None:
    """Even one that is not seen yet when the books are made: they last a moment at first."""
    tokens, _ = most(client, agent, admin)

    def meanwhile(_: ModelRequest) -> Said:
        limit(admin, tokens_per_day=tokens + 10)
        assert post(client, agent).json["details"]["left"] == 10
        return running.say()

    model.script = [meanwhile]
    work_off(client, agent, engine)
    model.script = [running.say()]
    admin.execute("update app.tenants set tokens_per_day = null")
    admin.execute("update app.tenants set tokens_per_day = 1000000")
    assert post(client, agent).status == 200
    books = in_redis(client, redis)
    assert int(books["ends"]) <= time.time() + 31


def test_the_cache_needs_these_commands_and_no_more(
    redis: Redis, redis_server: backends.Server, clean: None
) -> None:
    rules = [f"+{name}" for name in COMMANDS]
    for missing in [*COMMANDS, None]:
        allowed = [rule for rule in rules if rule != f"+{missing}"]
        set_user = ("ACL", "SETUSER", "limited", "reset", "on", "nopass", "~budget:*", "-@all")
        admin: Any = redis
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
    """Everything it can do; raises NoPermissionError."""
    script = client.register_script(redis_client.script_text("budget"))
    keys = ["budget:{t}", "budget:{t}:open"]
    asked: list[str | int] = [100, 200, "since", "maker", 10, 10, 1, 1, 1000, ""]
    try:
        script(keys, ["forget"])
        assert script(keys, ["reserve", "a", *asked]) == [-1, 1]
        assert script(keys, ["install", "maker", "since", 0, 86400, 1, 1, "b", 5, 5, 300]) == [1]
        assert script(keys, ["reserve", "a", *asked]) == [1, 10]
        assert script(keys, ["settle", "a", 100, 20, 20]) == [1]
    except ResponseError as error:
        if "can't run this command" in str(error) or "NOPERM" in str(error):
            raise NoPermissionError from error
        raise


# ── At once ──────────────────────────────────────────────────────────────────────────────────────


def send(path: str, client: Client) -> tuple[int, str]:
    """Run an agent, with patience: a busy machine is no outage."""
    with (
        patch.object(definitions, "MAX_SYNC_SECONDS", 120),
        patch.object(budgets, "MAX_CHECK_SECONDS", 60),
        patch.object(budgets, "MAX_WAIT_SECONDS", 60),
    ):
        answer = client("POST", path, RUN | SMALL | {"timeout_seconds": 120})
    return answer.status, answer.text


@pytest.mark.parametrize("flushes", [0, 5], ids=["all is well", "redis forgets all, five times"])
def test_of_200_runs_at_once_against_a_budget_for_50_at_most_50_ask_the_provider(
    make_tenant: MakeTenant,
    admin: Connection,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    flushes: int,
) -> None:
    caller = make_tenant()
    client = Client(caller)
    agent = client.agent()
    with scripted(monkeypatch, Model(running.say()), Outside()):
        tokens, _ = most(client, agent, admin)
    budgeted = 50 * tokens + OUTPUT
    limit(admin, tokens_per_day=budgeted)

    def behave(body: dict[str, Any]) -> Behaviour:
        """Use up all that may be used."""
        return used(say("The answer"), tokens - OUTPUT, body["max_completion_tokens"])

    def flush() -> None:
        for number in range(flushes):
            while len(fake.requests) < 5 * number and count_over(admin) < 200:
                time.sleep(0.005)
            redis.flushall()

    with FakeOpenAI(behave) as fake:
        providers = {"openai": {"api_key": "key", "base_url": f"{fake.url}/v1"}}
        monkeypatch.setenv("MAP_PROVIDERS", json.dumps(providers))
        told = at_once(200, caller, partial(send, f"/agents/{agent['id']}/run"), flush)
        asked = len(fake.requests)
    assert {status for status, _ in told} == {200, 402}
    assert sum(status == 200 for status, _ in told) == asked
    assert 1 <= asked <= 50
    if not flushes:
        assert asked == 50
    for details in (json.loads(text)["details"] for status, text in told if status == 402):
        assert 0 <= details["left"] < budgeted
        assert (details["limit"], details["renews_at"]) == (budgeted, tomorrow())
    assert in_postgres(client).tokens == asked * tokens
    with scripted(monkeypatch, Model(running.say()), Outside()):
        assert post(client, agent).status == (402 if asked == 50 else 200)
    assert_the_books_agree(client, redis)


def count_over(admin: Connection) -> int:
    """Return how many runs are over."""
    return admin.execute("select from app.executions where finished_at is not null").rowcount
