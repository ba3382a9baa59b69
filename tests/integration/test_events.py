"""Following a run by server-sent events, each request answered whole."""

import re
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import Connection
from tests.databases import configured
from tests.events import Answer
from tests.integration.client import Client
from tests.integration.running import Engine, Model, Outside, Waiting, ask_for, say, scripted
from tests.integration.test_run_loop import decide, queue

EVENT = re.compile(r"id: (\d+)\nevent: (\w+)\ndata: (.*)\n\n")


@pytest.fixture
def model() -> Model:
    return Model(say())


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, model: Model) -> Iterator[Engine]:
    with scripted(monkeypatch, model, Outside()) as engine:
        yield engine


@pytest.fixture
def agent(client: Client, admin: Connection) -> dict[str, Any]:
    tool = client.tool("guarded")
    admin.execute("update app.tools set requires_approval = true, endpoint = '{}'")
    return client.agent(tool_ids=[tool["id"]])


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
    client: Client, agent: dict[str, Any], engine: Engine, model: Model
) -> None:
    model.script = [ask_for("guarded"), say("The answer")]
    run = queue(client, agent, engine)
    with configured(follow_seconds="0.1"):
        assert told(look(client, run.execution_id)) == []
    with pytest.raises(Waiting):
        engine.work(run)
    seen = told(look(client, run.execution_id))
    assert seen == [(1, "step_started"), (2, "step_finished"), (3, "step_started")]
    decide(client, run, "approve")
    engine.work(run)
    for _ in range(2):
        seen += told(look(client, run.execution_id, seen[-1][0]))
        if seen[-1][1] == "run_finished":
            break
    assert [number for number, _ in seen] == list(range(1, 10))
    assert seen[-1] == (9, "run_finished")
    over = look(client, run.execution_id, 9)
    assert (over.status, over.text) == (204, "")


def test_a_request_is_held_until_there_is_something_to_tell(
    client: Client, agent: dict[str, Any], engine: Engine, admin: Connection
) -> None:
    run = queue(client, agent, engine)

    def cancel_later() -> None:
        time.sleep(0.3)
        admin.execute(
            "update app.executions set status = 'cancelled', finished_at = now() where id = %s",
            (run.execution_id,),
        )

    later = threading.Thread(target=cancel_later)
    later.start()
    began = time.monotonic()
    seen = told(look(client, run.execution_id))
    later.join()
    assert [name for _, name in seen] == ["run_finished"]
    assert 0.3 <= time.monotonic() - began < 3


def test_nobodys_run_is_not_found_and_a_made_up_id_is_refused(client: Client) -> None:
    assert look(client, uuid4()).error_code == "EXECUTION_NOT_FOUND"
    answer = client("GET", f"/executions/{uuid4()}/events", headers={"Last-Event-ID": "x"})
    assert answer.status == 422
