"""Cancelling a run, and deciding about its tool calls: nothing more is called than was allowed."""

from uuid import UUID

import pytest

from mini_agent.identity.callers import RunCaller
from tests.conftest import Connection
from tests.integration.running import Runs, ask_for, say


# ── Cancelling ──────────────────────────────────────────────────────────────────────────────────
def test_a_cancelled_run_calls_nothing_more(runs: Runs) -> None:
    run = runs.queue()

    def cancelled_meanwhile(_: str) -> str:
        answer = runs.cancel(run)
        assert (answer.status, answer.json["status"]) == (200, "cancelled")
        return "done all the same"

    runs.outside.does = cancelled_meanwhile
    runs.model.script = [ask_for("plain", "again"), say()]
    runs.engine.work(run)
    assert runs.state(run) == ("cancelled", "cancelled")
    assert (len(runs.model.asked), len(runs.outside.calls)) == (1, 1)
    assert runs.steps(run)[-1] == ("tool", "completed", "plain")


def test_a_queued_run_that_is_cancelled_never_begins(runs: Runs) -> None:
    run = runs.queue()
    assert runs.cancel(run).json["status"] == "cancelled"
    assert runs.cancel(run).json["status"] == "cancelled"
    assert runs.engine.work(run) is None
    assert runs.model.asked == []


def test_a_run_that_is_over_is_not_cancelled(runs: Runs) -> None:
    run = runs.post().json
    answer = runs.cancel(run)
    assert (answer.status, answer.error_code) == (409, "EXECUTION_ALREADY_FINISHED")


# ── Approvals ───────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def waiting(runs: Runs) -> RunCaller:
    run = runs.queue()
    runs.model.script = [ask_for("guarded"), say("The answer")]
    runs.wait(run)
    assert runs.state(run) == ("waiting_approval", None)
    assert runs.steps(run)[-1] == ("approval", "waiting", "guarded")
    return run


def test_an_approved_call_is_made_and_the_run_goes_on_where_it_was(
    runs: Runs, waiting: RunCaller
) -> None:
    for _ in range(2):
        answer = runs.decide(waiting, "approve")
        assert (answer.status, answer.json["decision"]) == (200, "approve")
    assert runs.decide(waiting, "reject").error_code == "APPROVAL_CLOSED"
    runs.engine.work(waiting)
    assert runs.engine.work(waiting) is None
    assert runs.state(waiting) == ("completed", "answered")
    assert (len(runs.model.asked), runs.outside.calls) == (2, [("guarded", {"q": "guarded"})])


def test_a_rejected_call_is_not_made_and_the_model_hears_why(
    runs: Runs, waiting: RunCaller
) -> None:
    runs.decide(waiting, "reject", comment="too dear")
    runs.engine.work(waiting)
    assert runs.state(waiting) == ("completed", "answered")
    assert runs.outside.calls == []
    assert "too dear" in runs.model.asked[-1].turns[0].results[0].content
    assert runs.steps(waiting)[2] == ("tool", "refused", "guarded")


def test_a_day_of_waiting_is_no_work(runs: Runs, waiting: RunCaller, admin: Connection) -> None:
    admin.execute(
        "update app.executions set waiting_since = waiting_since - interval '23 hours',"
        " started_at = started_at - interval '23 hours', deadline = deadline - interval '23 hours'"
    )
    admin.execute("update app.execution_steps set expires_at = expires_at - interval '23 hours'")
    runs.wait(waiting)  # called for no reason, it waits on
    assert runs.decide(waiting, "approve").status == 200
    runs.engine.work(waiting)
    assert runs.state(waiting) == ("completed", "answered")


def test_an_approval_that_nobody_gave_in_time_ends_the_run(
    runs: Runs, waiting: RunCaller, admin: Connection
) -> None:
    admin.execute("update app.execution_steps set expires_at = now() where kind = 'approval'")
    refused = runs.decide(waiting, "approve")
    assert (refused.status, refused.error_code) == (409, "APPROVAL_CLOSED")
    runs.engine.work(waiting)
    assert runs.state(waiting) == ("failed", "approval_expired")
    assert runs.outside.calls == []


def test_a_waiting_run_can_be_cancelled_and_is_not_approved_then(
    runs: Runs, waiting: RunCaller
) -> None:
    assert runs.cancel(waiting).json["status"] == "cancelled"
    assert runs.decide(waiting, "approve").status == 409
    assert runs.engine.work(waiting) is None
    assert runs.outside.calls == []


def test_another_step_cannot_be_approved(runs: Runs, waiting: RunCaller) -> None:
    for step in (1, 3):
        answer = runs.decide(waiting, "approve", step)
        assert (answer.status, answer.error_code) == (404, "STEP_NOT_FOUND")


def test_a_run_that_somebody_waits_for_is_handed_over_when_it_needs_approval(runs: Runs) -> None:
    runs.model.script = [ask_for("plain"), ask_for("guarded"), say("The answer")]
    answer = runs.post()
    assert answer.status == 202
    [run] = runs.engine.queued
    assert run.execution_id == UUID(answer.json["execution_id"])
    runs.wait(run)
    runs.decide(run, "approve", step=4)
    runs.engine.work(run)
    assert runs.state(run) == ("completed", "answered")
    assert [name for name, _ in runs.outside.calls] == ["plain", "guarded"]
    assert len(runs.model.asked) == 3
