"""The ledger of budgets: Redis and Postgres agree in the end, whatever is lost, and time passes."""

import time
from datetime import UTC, datetime, timedelta
from decimal import ROUND_UP, Decimal
from pathlib import Path

import pytest

from functions.runs.engine import budgets
from functions.runs.llm.messages import ModelRequest, ModelResponse
from local import backends
from mini_agent.data import redis_client
from tests.databases import configured
from tests.events import uuid
from tests.integration.budgeting import Ledgers
from tests.integration.running import Crash, Runs, ask_for, say

pytestmark = pytest.mark.usefixtures("patience")


# ── What is lost ─────────────────────────────────────────────────────────────────────────────────


def test_what_redis_forgets_is_made_anew_with_what_is_under_way(
    runs: Runs, ledgers: Ledgers
) -> None:
    tokens, _ = ledgers.bound()
    ledgers.limit(tokens_per_day=tokens + 14)
    left: list[int] = []

    def meanwhile(_: ModelRequest) -> ModelResponse:
        for _again in range(2):
            ledgers.redis.flushall()
            refused = runs.post()
            assert refused.status == 402
            left.append(refused.json["details"]["left"])
        return say()

    runs.model.script = [meanwhile]
    runs.work(runs.queue())
    assert left == [14, 14]
    ledgers.assert_agree()
    ledgers.redis.flushall()
    refused = runs.post()
    assert (refused.status, refused.json["details"]["left"]) == (402, tokens - 1)
    ledgers.assert_agree()


def test_a_cancelled_run_whose_call_is_under_way_is_not_forgotten(
    runs: Runs, ledgers: Ledgers
) -> None:
    tokens, _ = ledgers.bound()
    ledgers.limit(tokens_per_day=tokens)

    def cancels(_: ModelRequest) -> ModelResponse:
        ledgers.admin.execute("update app.executions set status = 'cancelled', finished_at = now()")
        ledgers.redis.flushall()
        assert runs.post().status == 402
        return say()

    runs.model.script = [cancels]
    runs.work(runs.queue())
    assert ledgers.in_postgres().tokens == 15


def test_a_worker_that_dies_holds_its_reservation_until_its_lease_is_over(
    runs: Runs, ledgers: Ledgers
) -> None:
    tokens, _ = ledgers.bound()
    ledgers.limit(tokens_per_day=tokens + 50)

    def dies(_: ModelRequest) -> ModelResponse:
        raise Crash

    runs.model.script = [dies]
    with pytest.raises(Crash):
        runs.work(runs.queue())
    runs.model.script = [say()]
    assert runs.post().status == 402
    assert ledgers.in_redis()["reserved_tokens"] == str(tokens)
    ledgers.end_leases()
    assert runs.post().status == 200
    ledgers.assert_agree()


def test_an_end_that_redis_did_not_hear_of_is_found_when_the_lease_is_over(
    runs: Runs, ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledgers.limit(tokens_per_day=1_000_000)
    with monkeypatch.context() as patched:
        patched.setattr(budgets, "settle", lambda *_: None)
        assert runs.post().status == 200
    assert ledgers.in_redis()["tokens"] == "0"
    ledgers.end_leases()
    assert runs.post().status == 200
    assert ledgers.in_postgres().tokens == 30
    ledgers.assert_agree()


def test_an_attempt_that_another_has_overtaken_has_no_say_in_the_books(
    runs: Runs, ledgers: Ledgers
) -> None:
    ledgers.limit(tokens_per_day=1_000_000)
    run = runs.queue()

    def overtaken(_: ModelRequest) -> ModelResponse:
        runs.model.script = [say("The later one")]
        runs.work(run)
        return say("The earlier one", input_tokens=1000)

    runs.model.script = [overtaken]
    assert runs.work(run).response == "The later one"
    assert runs.post().status == 200
    assert ledgers.in_postgres().tokens == 30
    ledgers.assert_agree()


def test_while_redis_is_away_a_run_waits_a_while_and_then_fails(
    runs: Runs, ledgers: Ledgers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets, "MAX_WAIT_SECONDS", 0.5)
    ledgers.limit(tokens_per_day=1_000_000)
    with (
        backends.redis(tmp_path / "redis") as own,
        configured(redis_url=f"unix://{own.socket}"),
    ):

        def loses_redis(_: ModelRequest) -> ModelResponse:
            own.stop()
            return ask_for("plain")

        runs.model.script = [loses_redis]
        refused = runs.post(max_tokens=1000)
        assert (refused.status, refused.error_code) == (503, "SERVICE_UNAVAILABLE")
        assert refused.json["details"]["reason"] == "budget"
        assert "retry-after" in refused.headers
        assert runs.state(refused.json["details"]) == ("failed", "budget_unavailable")
        assert len(runs.model.asked) == 1
        own.start()
        redis_client._open_until = 0.0
        runs.model.script = [say()]
        assert runs.post().status == 200
        assert ledgers.in_postgres().tokens == 30


# ── What passes ──────────────────────────────────────────────────────────────────────────────────


def test_a_new_day_and_a_new_month_begin_with_nothing_used(runs: Runs, ledgers: Ledgers) -> None:
    tokens, usd = ledgers.bound()
    ledgers.limit(tokens_per_day=tokens)
    assert runs.post().status == 200

    def time_passes(days: int) -> None:
        """Make all that is known so much older."""
        ledgers.admin.execute(
            "update app.execution_steps set finished_at = finished_at - make_interval(days => %s)",
            (days,),
        )
        for name in ("day", "ends"):
            ledgers.redis.hincrby(ledgers.key, name, -86400 * days)

    assert runs.post().status == 402
    time_passes(1)
    assert runs.post().status == 200
    assert ledgers.in_redis()["tokens"] == "15"
    assert runs.post().status == 402
    ledgers.limit(
        tokens_per_day=None, spend_per_month_usd=usd.quantize(Decimal("0.000001"), ROUND_UP)
    )
    time_passes(1)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    same_month = yesterday.month == datetime.now(UTC).month
    assert runs.post().status == (402 if same_month else 200)
    time_passes(31)
    assert runs.post().status == 200
    ledgers.assert_agree()


def test_what_was_deleted_of_this_month_is_still_spent(runs: Runs, ledgers: Ledgers) -> None:
    assert runs.client.caller
    ledgers.limit(spend_per_month_usd=1)
    kept = (
        "insert into app.daily_usage values (%s, current_date - %s::integer, 'gpt-4o', %s, 'Ann',"
        " 1, 1, 1, %s)"
    )
    ledgers.admin.execute(kept, (runs.client.caller.tenant_id, 40, uuid(1), 5))
    assert runs.post().status == 200
    ledgers.admin.execute(kept, (runs.client.caller.tenant_id, 0, uuid(1), Decimal("0.9995")))
    ledgers.limit(spend_per_month_usd=None)
    ledgers.limit(spend_per_month_usd=1)
    refused = runs.post()
    assert refused.status == 402
    assert refused.json["details"]["left"] == pytest.approx(0.0005 - 0.000075)


def test_what_was_used_while_there_was_no_budget_counts_when_there_is_one_again(
    runs: Runs, ledgers: Ledgers
) -> None:
    tokens, _ = ledgers.bound()
    ledgers.limit(tokens_per_day=tokens + 20)
    assert runs.post().status == 200
    ledgers.limit(tokens_per_day=None)
    assert runs.post().status == 200
    ledgers.limit(tokens_per_day=tokens + 20)
    refused = runs.post()
    assert (refused.status, refused.json["details"]["left"]) == (402, tokens - 10)
    ledgers.assert_agree()


def test_a_call_that_began_without_a_budget_counts_for_the_first_one(
    runs: Runs, ledgers: Ledgers
) -> None:
    """Even one that is not visible yet: the first ledger after that lives a moment only."""
    tokens, _ = ledgers.bound()

    def meanwhile(_: ModelRequest) -> ModelResponse:
        ledgers.limit(tokens_per_day=tokens + 10)
        assert runs.post().json["details"]["left"] == 10
        return say()

    runs.model.script = [meanwhile]
    runs.work(runs.queue())
    runs.model.script = [say()]
    ledgers.admin.execute("update app.tenants set tokens_per_day = null")
    ledgers.admin.execute("update app.tenants set tokens_per_day = 1000000")
    assert runs.post().status == 200
    assert int(ledgers.in_redis()["ends"]) <= time.time() + 31
