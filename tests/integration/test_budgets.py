"""Budgets: what a model call may use at most, what is refused, and what the caller is told."""

import json
from decimal import Decimal

import pytest
from redis import Redis

from functions.runs.engine import budgets
from functions.runs.llm.catalogue import Price
from functions.runs.llm.messages import (
    ModelRequest,
    ModelResponse,
    ProviderError,
    ToolCall,
    ToolReturn,
    ToolSpec,
    Turn,
)
from local import backends
from tests.conftest import Connection
from tests.integration.budgeting import OUTPUT, Ledgers, limit, next_month, tomorrow
from tests.integration.client import RUN, Client
from tests.integration.running import BACKGROUND, Runs, ask_for, say

pytestmark = pytest.mark.usefixtures("patience")

KEY = {"Idempotency-Key": "key"}


# ── What a call may use at most ──────────────────────────────────────────────────────────────────


def test_every_text_that_is_sent_counts_its_bytes_and_every_part_a_little_more() -> None:
    asked = ModelRequest(
        "instructions",
        "prömpt\ud800",
        [ToolSpec("tool", "describes", {"type": "object"})],
        [
            Turn(
                ModelResponse("not sent", [], "tool_calls", 1, 1, {"sent": "state"}),
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
    ledgers: Ledgers,
) -> None:
    tokens, usd = ledgers.bound()
    assert tokens > OUTPUT + len(RUN["prompt"])
    assert usd == (Decimal(tokens - OUTPUT) * Decimal("2.5") + OUTPUT * 10) / 1_000_000
    assert ledgers.in_redis() == {}


def test_the_mock_is_free(client: Client, admin: Connection, redis_server: backends.Server) -> None:
    limit(admin, tokens_per_day=0, spend_per_month_usd=0)
    assert client.run(client.agent())["status"] == "completed"
    with Redis(unix_socket_path=redis_server.socket) as redis:
        assert redis.keys("budget:*") == []
    reserved = admin.execute("select reserved_tokens from app.execution_steps").fetchall()
    assert reserved == [(0,)]


# ── What is refused ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("headers", [None, BACKGROUND], ids=["waits", "in the background"])
def test_without_enough_left_a_run_is_refused_before_it_is_one(
    runs: Runs, ledgers: Ledgers, headers: dict[str, str] | None
) -> None:
    tokens, _ = ledgers.bound()
    ledgers.limit(tokens_per_day=tokens + 14)
    assert runs.post().status == 200  # uses 10 and 5
    refused = runs.post(headers)
    assert (refused.status, refused.error_code) == (402, "BUDGET_EXCEEDED")
    assert refused.json["details"] == {
        "budget": "tokens_per_day",
        "limit": tokens + 14,
        "left": tokens - 1,
        "renews_at": tomorrow(),
    }
    assert (ledgers.count("executions"), runs.engine.queued) == (1, [])
    ledgers.assert_agree()


def test_a_budget_of_dollars_is_told_in_dollars(runs: Runs, ledgers: Ledgers) -> None:
    _, usd = ledgers.bound()
    used_usd = (10 * Decimal("2.5") + 5 * 10) / 1_000_000
    budgeted = usd.quantize(Decimal("0.000001")) + Decimal("0.000001")
    ledgers.limit(spend_per_month_usd=budgeted)
    assert runs.post().status == 200
    refused = runs.post()
    assert refused.status == 402
    assert refused.json["details"] == {
        "budget": "spend_per_month_usd",
        "limit": float(budgeted),
        "left": float(budgeted - used_usd),
        "renews_at": next_month(),
    }
    ledgers.assert_agree()


def test_of_two_budgets_the_one_with_less_room_decides(runs: Runs, ledgers: Ledgers) -> None:
    ledgers.limit(tokens_per_day=0, spend_per_month_usd=1)
    assert runs.post().json["details"]["budget"] == "tokens_per_day"
    ledgers.limit(tokens_per_day=1_000_000, spend_per_month_usd=0)
    assert runs.post().json["details"]["budget"] == "spend_per_month_usd"


def test_where_less_is_left_the_answer_may_be_shorter_but_not_too_short(
    runs: Runs, ledgers: Ledgers
) -> None:
    tokens, _ = ledgers.bound()
    of_input = tokens - OUTPUT
    for left, status in ((of_input + 5000, 200), (of_input + 256, 200), (of_input + 255, 402)):
        ledgers.limit(tokens_per_day=left)
        assert runs.post(max_tokens=100_000).status == status
        ledgers.forget_runs()
        ledgers.limit(tokens_per_day=None)  # what was used is forgotten with it
    usd = (of_input * Decimal("2.5") + 300 * 10) / 1_000_000
    ledgers.limit(tokens_per_day=of_input + 400, spend_per_month_usd=usd)
    assert runs.post(max_tokens=100_000).status == 200
    assert runs.model.granted[1:] == [4096, 256, pytest.approx(300, abs=1)]


def test_a_run_that_is_refused_on_its_way_ends_there_and_says_so_everywhere(
    runs: Runs, ledgers: Ledgers
) -> None:
    tokens, _ = ledgers.bound()
    ledgers.limit(tokens_per_day=tokens + 10)
    runs.model.script = [ask_for("plain")]
    first = runs.post(KEY)
    assert (first.status, first.error_code) == (402, "BUDGET_EXCEEDED")
    details = first.json["details"]
    run = {"execution_id": details.pop("execution_id")}
    assert details == {
        "budget": "tokens_per_day",
        "limit": tokens + 10,
        "left": tokens + 10 - 15,
        "renews_at": tomorrow(),
    }
    assert runs.state(run) == ("failed", "budget_exceeded")
    steps = runs.step_items(run)
    assert [(step["kind"], step["status"]) for step in steps] == [
        ("model", "completed"),
        ("tool", "completed"),
        ("model", "refused"),
    ]
    assert steps[-1]["result"] == {"reason": "budget_exceeded", **details}
    events = runs.client("GET", f"/executions/{run['execution_id']}/events").text
    assert '"stop_reason": "budget_exceeded"' in events
    again = runs.post(KEY)
    assert (again.status, again.text) == (402, first.text)
    assert again.headers["idempotency-replayed"] == "true"
    assert len(runs.model.asked) == 2
    ledgers.assert_agree()


def test_a_run_sent_again_gets_its_answer_though_nothing_is_left(
    runs: Runs, ledgers: Ledgers
) -> None:
    ledgers.limit(tokens_per_day=1_000_000, runs_per_minute=100)
    first = runs.post(KEY)
    ledgers.limit(tokens_per_day=0)
    again = runs.post(KEY)
    assert (again.status, again.text) == (200, first.text)
    ledgers.limit(runs_per_minute=1)
    assert runs.post(KEY).status == 200
    assert runs.post(KEY, prompt="Another?").error_code == "IDEMPOTENCY_KEY_REUSED"
    assert runs.post({"Idempotency-Key": "new"}).status == 429
    assert ledgers.count("idempotency_keys") == 1


def test_a_refusal_leaves_the_key_free(runs: Runs, ledgers: Ledgers) -> None:
    ledgers.limit(tokens_per_day=0)
    assert runs.post(KEY).status == 402
    ledgers.limit(tokens_per_day=1_000_000)
    run = runs.post(KEY)
    assert (run.status, "idempotency-replayed" in run.headers) == (200, False)


def test_a_changed_budget_holds_at_once_for_runs_in_the_background_too(
    runs: Runs, ledgers: Ledgers
) -> None:
    ledgers.limit(tokens_per_day=1_000_000)
    for _ in range(2):
        assert runs.post(BACKGROUND, max_tokens=1000).status == 202

    def lowers(_: ModelRequest) -> ModelResponse:
        ledgers.limit(tokens_per_day=20)
        return ask_for("plain")

    runs.model.script = [lowers]
    over = runs.work(runs.engine.queued.pop())
    assert (over.status, over.stop_reason) == ("failed", "budget_exceeded")
    assert len(runs.model.asked) == 1
    assert runs.post().status == 402
    ledgers.limit(tokens_per_day=1_000_000)
    runs.model.script = [say()]
    over = runs.work(runs.engine.queued.pop())
    assert over.status == "completed"
    assert runs.post().status == 200
    ledgers.assert_agree()


def test_a_failed_call_and_a_cancelled_run_hold_nothing_any_more(
    runs: Runs, ledgers: Ledgers
) -> None:
    ledgers.limit(tokens_per_day=1_000_000)
    runs.model.script = [ProviderError("rate_limited", "Too many")]
    assert runs.post().status == 502
    ledgers.assert_agree()

    def cancels(_: ModelRequest) -> ModelResponse:
        assert runs.cancel(run).status == 200
        return say()

    runs.model.script = [cancels]
    run = runs.queue()
    assert runs.work(run).status == "cancelled"
    runs.model.script = [say()]
    assert runs.post().status == 200
    assert ledgers.in_postgres().tokens == 30
    ledgers.assert_agree()
