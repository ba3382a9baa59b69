"""Runs after a crash: no finished step is repeated, and of two attempts only the later counts."""

from typing import Any

import pytest

from functions.runs.engine.journal import Journal, LeaseLost, StepOutcome
from functions.runs.llm.messages import ModelRequest
from functions.sweep.app import handler as sweep
from tests.conftest import Connection
from tests.databases import configured
from tests.events import Context
from tests.integration.running import Crash, Runs, ask_for, say


@pytest.mark.parametrize("dies_at", range(5), ids="call {}".format)
@pytest.mark.parametrize("where", ["in the call", "after it"])
def test_a_crash_repeats_no_finished_step_and_no_tool_that_may_not_be_repeated(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, dies_at: int, where: str
) -> None:
    """Five calls go out: model, tool, model, a tool that may be repeated, model."""
    script = [ask_for("plain"), ask_for("again"), say("The answer")]
    calls: list[str] = []
    alive = [False]

    def call(name: str) -> None:
        calls.append(name)
        if not alive[0] and len(calls) == dies_at + 1 and where == "in the call":
            raise Crash

    def think(conversation: ModelRequest) -> Any:
        call(f"model {len(conversation.turns)}")
        return script[len(conversation.turns)]

    def act(name: str) -> str:
        call(name)
        return name

    runs.model.script, runs.outside.does = [think], act
    written = Journal.finish, Journal.end

    def dying(which: int) -> Any:
        def write(self: Journal, *args: Any) -> Any:
            result = written[which](self, *args)
            if not alive[0] and len(calls) == dies_at + 1 and where == "after it":
                raise Crash
            return result

        return write

    monkeypatch.setattr(Journal, "finish", dying(0))
    monkeypatch.setattr(Journal, "end", dying(1))
    run = runs.queue()
    with pytest.raises(Crash):
        runs.engine.work(run)
    alive[0] = True
    runs.engine.work(run)

    in_the_call = where == "in the call"
    repeated = {name for name in calls if calls.count(name) > 1}
    if in_the_call and dies_at == 1:
        assert runs.state(run) == ("failed", "interrupted")
        assert (repeated, len(calls)) == (set(), 2)
    else:
        assert runs.state(run) == ("completed", "answered")
        assert repeated == ({calls[dies_at]} if in_the_call else set())
        assert len(runs.steps(run)) == 5


def test_a_run_that_always_crashes_is_given_up(runs: Runs) -> None:
    def die(_: ModelRequest) -> Any:
        raise Crash

    runs.model.script = [die]
    run = runs.queue()
    for _ in range(3):
        with pytest.raises(Crash):
            runs.engine.work(run)
    over = runs.work(run)
    assert (over.status, over.stop_reason) == ("failed", "crashed")
    assert len(runs.model.asked) == 3
    assert runs.steps(run) == [("model", "interrupted", None)]


def test_three_deliveries_of_one_start_are_one_run(runs: Runs) -> None:
    run = runs.queue()

    def meanwhile(_: ModelRequest) -> Any:
        assert runs.engine.work(run, "a second engine") is None
        return say()

    runs.model.script = [meanwhile]
    runs.engine.work(run, "engine")
    assert runs.engine.work(run, "a third engine") is None
    assert runs.engine.work(run, "engine") is None
    assert len(runs.model.asked) == 1


def test_a_suspended_tenants_run_calls_nothing_more(runs: Runs, admin: Connection) -> None:
    waiting, running = (runs.queue() for _ in range(2))

    def suspended(_: ModelRequest) -> Any:
        admin.execute("update app.tenants set status = 'suspended'")
        return ask_for("plain")

    runs.model.script = [suspended]
    assert runs.engine.work(running) is None
    assert runs.engine.work(waiting) is None
    assert (len(runs.model.asked), runs.outside.calls) == (1, [])


def test_what_an_earlier_attempt_still_does_is_fenced_off(runs: Runs) -> None:
    run = runs.queue()

    def taken_over(_: str) -> str:
        runs.outside.does = lambda _: "the later attempt"
        runs.model.script = [say("Late")]
        runs.engine.work(run)
        return "the earlier attempt"

    runs.outside.does = taken_over
    runs.model.script = [ask_for("again"), say("Never asked")]
    over = runs.work(run)
    assert over.response == "Late"
    items = runs.step_items(run)
    assert items[1]["result"] == {"content": "the later attempt"}
    assert len(items) == 3


def test_a_run_that_nobody_came_back_to_is_swept(runs: Runs, admin: Connection) -> None:
    queued, waiting = (runs.queue() for _ in range(2))
    runs.model.script = [ask_for("guarded")]
    runs.wait(waiting)
    with configured(database_user="map_sweeper"):
        done = sweep({}, Context())
    assert (done["expired_runs"], done["deleted_responses"]) == (0, 0)
    admin.execute("update app.executions set expires_at = now() - interval '1 second'")
    admin.execute(
        "insert into app.idempotency_keys (tenant_id, route, key, fingerprint, created_at)"
        " select tenant_id, 'r', 'k', '\\x00', now() - interval '25 hours' from app.agents"
    )
    with configured(database_user="map_sweeper"):
        done = sweep({}, Context())
    assert (done["expired_runs"], done["deleted_responses"]) == (2, 1)
    assert runs.state(queued) == ("failed", "interrupted")
    assert runs.state(waiting) == ("failed", "approval_expired")
    assert runs.steps(waiting)[-1] == ("approval", "interrupted", "guarded")
    assert runs.engine.work(queued) is None


def test_an_owner_comes_back_at_once_and_another_after_the_lease(
    runs: Runs, admin: Connection
) -> None:
    run = runs.queue()
    first = Journal.claim(run, "first")
    assert first
    assert Journal.claim(run, "second") is None
    admin.execute("update app.executions set lease_until = now() - interval '1 second'")
    second = Journal.claim(run, "second")
    assert second
    assert Journal.claim(run, "first") is None
    with pytest.raises(LeaseLost):
        first.begin(1, "model", seconds=1)
    second.begin(1, "model", seconds=1)


def test_an_earlier_attempt_does_not_finish_a_step_that_a_later_one_works_on(runs: Runs) -> None:
    run = runs.queue()
    first = Journal.claim(run, "owner")
    assert first
    first.begin(1, "model", seconds=1)
    second = Journal.claim(run, "owner")
    assert second
    second.begin(1, "model", seconds=1)
    with pytest.raises(LeaseLost):
        first.finish(1, StepOutcome("completed", {"text": "early"}))
    assert runs.steps(run) == [("model", "running", None)]
    second.finish(1, StepOutcome("completed", {"text": "late"}))
    assert runs.step_items(run)[0]["result"] == {"text": "late"}
