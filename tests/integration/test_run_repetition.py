"""The calls that create and end a run are sent again where a connection is lost: twice is once."""

from collections.abc import Callable
from typing import Any

import pytest

from mini_agent.data import db
from tests.conftest import Connection
from tests.integration.client import RUN, Client
from tests.integration.running import BACKGROUND, Model, Outside, say, scripted

SendTwice = Callable[..., None]


@pytest.fixture
def send_twice(monkeypatch: pytest.MonkeyPatch) -> SendTwice:
    """Sends each call of a stored function of runs twice; `between` happens after the first."""

    def start(between: Callable[[], object] = lambda: None) -> None:
        once = db.call

        def twice(name: str, *arguments: Any) -> list[Any]:
            once(name, *arguments)
            between()
            return once(name, *arguments)

        monkeypatch.setattr(db, "call", twice)

    return start


def rows(admin: Connection) -> list[Any]:
    """Return each run with the number of its steps."""
    return admin.execute(
        "select e.status, e.steps, count(s.number) from app.executions e"
        " left join app.execution_steps s on s.execution_id = e.id group by e.tenant_id, e.id"
    ).fetchall()


def test_a_run_whose_calls_are_sent_twice_is_created_and_ended_once(
    client: Client, admin: Connection, send_twice: SendTwice
) -> None:
    path = f"/agents/{client.agent()['id']}/run"
    expected = client("POST", path, RUN).json
    send_twice()
    answer = client("POST", path, RUN)
    assert answer.status == 200
    assert {name: answer.json[name] for name in ("response", "status", "stop_reason", "usage")} == {
        name: expected[name] for name in ("response", "status", "stop_reason", "usage")
    }
    assert rows(admin) == [("completed", 1, 1)] * 2


def test_what_a_run_used_is_counted_once_when_its_end_is_sent_twice(
    client: Client, admin: Connection, send_twice: SendTwice, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/agents/{client.agent()['id']}/run"
    with scripted(monkeypatch, Model(say()), Outside()):
        send_twice()
        answer = client("POST", path, RUN)
    assert answer.status == 200, answer.text
    used = admin.execute("select input_tokens, output_tokens from app.executions").fetchall()
    assert used == [(10, 5)]
    assert answer.json["usage"]["input_tokens"] == 10


def test_an_agent_deleted_before_its_run_is_sent_again_changes_nothing(
    client: Client, admin: Connection, send_twice: SendTwice
) -> None:
    path = f"/agents/{client.agent()['id']}/run"
    send_twice(lambda: admin.execute("delete from app.agents"))
    assert client("POST", path, RUN).status == 200
    assert rows(admin) == [("completed", 1, 1)]


def test_a_run_that_is_sent_again_does_not_wait_for_its_own_slot(
    client: Client, admin: Connection, send_twice: SendTwice, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/agents/{client.agent()['id']}/run"
    admin.execute("update app.tenants set concurrent_runs = 1")
    with scripted(monkeypatch, Model(say()), Outside()):
        send_twice()
        assert client("POST", path, RUN, BACKGROUND).status == 202
        assert client("POST", path, RUN, BACKGROUND).status == 429
    assert rows(admin) == [("queued", 0, 0)]
