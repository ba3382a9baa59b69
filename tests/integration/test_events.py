"""Following a run by server-sent events, each request answered whole."""

import json
import re
import time
from types import SimpleNamespace
from uuid import uuid4

import pytest

from functions.executions import events
from functions.executions.models import StepFinished, StepStarted
from mini_agent.identity.callers import Caller
from tests.conftest import Connection
from tests.databases import configured
from tests.events import Answer
from tests.integration.client import Client
from tests.integration.running import Runs, ask_for, say

EVENT = re.compile(r"id: (\d+)\nevent: (\w+)\ndata: (.*)\n\n")


def look(client: Client, execution: object, last: int = 0) -> Answer:
    headers = {"Last-Event-ID": str(last)} if last else {}
    return client("GET", f"/executions/{execution}/events", headers=headers)


def told(answer: Answer) -> list[tuple[int, str]]:
    assert (answer.status, answer.headers["content-type"]) == (
        200,
        "text/event-stream; charset=utf-8",
    )
    assert answer.text.startswith("retry: ")
    return [(int(number), name) for number, name, _ in EVENT.findall(answer.text)]


def test_a_client_that_comes_back_sees_each_event_once_and_in_order(
    client: Client, runs: Runs
) -> None:
    runs.model.script = [ask_for("guarded"), say("The answer")]
    run = runs.queue()
    with configured(follow_seconds="0.1"):
        assert told(look(client, run.execution_id)) == []
    runs.wait(run)
    seen = told(look(client, run.execution_id))
    assert seen == [(1, "step_started"), (2, "step_finished"), (3, "step_started")]
    runs.decide(run, "approve")
    runs.work(run)
    for _ in range(2):
        seen += told(look(client, run.execution_id, seen[-1][0]))
        if seen[-1][1] == "run_finished":
            break
    assert [number for number, _ in seen] == list(range(1, 10))
    assert seen[-1] == (9, "run_finished")
    over = look(client, run.execution_id, 9)
    assert (over.status, over.text) == (204, "")


def test_a_request_is_held_until_there_is_something_to_tell(
    client: Client, runs: Runs, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.queue()
    pauses = list[float]()

    def cancel_meanwhile(seconds: float) -> None:
        pauses.append(seconds)
        admin.execute(
            "update app.executions set status = 'cancelled', finished_at = now() where id = %s",
            (run.execution_id,),
        )

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=cancel_meanwhile)
    monkeypatch.setattr(events, "time", clock)
    seen = told(look(client, run.execution_id))
    assert [name for _, name in seen] == ["run_finished"]
    assert pauses == [events.POLL_SECONDS[0]]


def test_a_step_that_the_end_of_its_run_interrupts_never_finishes(
    client: Client, tenant: Caller, runs: Runs, admin: Connection
) -> None:
    run = runs.queue()
    admin.execute(
        "insert into app.execution_steps (tenant_id, execution_id, number, kind, status, attempt)"
        " values (%s, %s, 1, 'model', 'running', 1)",
        (tenant.tenant_id, run.execution_id),
    )
    admin.execute("update app.executions set steps = 1 where id = %s", (run.execution_id,))
    assert client("POST", f"/executions/{run.execution_id}/cancel").status == 200
    [step] = client("GET", f"/executions/{run.execution_id}/steps").json["items"]
    assert step["status"] == "interrupted"
    assert told(look(client, run.execution_id)) == [(1, "step_started"), (3, "run_finished")]


def test_events_carry_what_the_run_and_its_steps_are_read_as(client: Client, runs: Runs) -> None:
    runs.model.script = [say("One\u2028line")]
    run = runs.queue()
    runs.work(run)
    answer = look(client, run.execution_id)
    assert answer.text.isascii()  # some clients end a line at U+2028
    started, finished, end = [json.loads(data) for _, _, data in EVENT.findall(answer.text)]
    [step] = client("GET", f"/executions/{run.execution_id}/steps").json["items"]
    assert started == {name: step[name] for name in StepStarted.model_fields}
    assert finished == {name: step[name] for name in StepFinished.model_fields}
    assert end == client("GET", f"/executions/{run.execution_id}").json
    assert end == client("GET", f"/history/{run.execution_id}").json
    assert end["response"] == "One\u2028line"


def test_nobodys_run_is_not_found_and_a_made_up_id_is_refused(client: Client) -> None:
    assert look(client, uuid4()).error_code == "EXECUTION_NOT_FOUND"
    answer = client("GET", f"/executions/{uuid4()}/events", headers={"Last-Event-ID": "x"})
    assert answer.status == 422
