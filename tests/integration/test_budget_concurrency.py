"""Budgets with 200 sandboxes at once, also while Redis forgets everything."""

import json
import time
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest

from functions.runs import definitions
from functions.runs.engine import budgets
from tests.conftest import Connection
from tests.fakes import Behaviour, FakeOpenAI, say, used
from tests.integration.budgeting import OUTPUT, SHORT, Ledgers, tomorrow
from tests.integration.client import RUN, Client
from tests.integration.running import Runs
from tests.integration.sandboxes import at_once

pytestmark = pytest.mark.usefixtures("patience")


def send(path: str, client: Client) -> tuple[int, str]:
    """Run an agent, with patience: a busy machine is no outage."""
    with (
        patch.object(definitions, "MAX_SYNC_SECONDS", 120),
        patch.object(budgets, "MAX_CHECK_SECONDS", 60),
        patch.object(budgets, "MAX_WAIT_SECONDS", 60),
    ):
        answer = client("POST", path, RUN | SHORT | {"timeout_seconds": 120})
    return answer.status, answer.text


def finished_runs(admin: Connection) -> int:
    return admin.execute("select from app.executions where finished_at is not null").rowcount


@pytest.mark.parametrize("flushes", [0, 5], ids=["all is well", "redis forgets all, five times"])
def test_of_200_runs_at_once_against_a_budget_for_50_at_most_50_ask_the_provider(
    runs: Runs, ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch, flushes: int
) -> None:
    tokens, _ = ledgers.bound()
    budgeted = 50 * tokens + OUTPUT
    ledgers.limit(tokens_per_day=budgeted)

    def use_all(body: dict[str, Any]) -> Behaviour:
        """Use up all that may be used."""
        return used(say("The answer"), tokens - OUTPUT, body["max_completion_tokens"])

    def flush() -> None:
        for number in range(flushes):
            while len(fake.requests) < 5 * number and finished_runs(ledgers.admin) < 200:
                time.sleep(0.005)
            ledgers.redis.flushall()

    with FakeOpenAI(use_all) as fake:
        providers = {"openai": {"api_key": "key", "base_url": f"{fake.url}/v1"}}
        monkeypatch.setenv("MAP_PROVIDERS", json.dumps(providers))
        assert runs.client.caller
        path = f"/agents/{runs.agent['id']}/run"
        told = at_once(200, runs.client.caller, partial(send, path), flush)
        asked = len(fake.requests)
    assert {status for status, _ in told} == {200, 402}
    assert sum(status == 200 for status, _ in told) == asked
    assert 1 <= asked <= 50
    if not flushes:
        assert asked == 50
    for details in (json.loads(text)["details"] for status, text in told if status == 402):
        assert 0 <= details["left"] < budgeted
        assert (details["limit"], details["renews_at"]) == (budgeted, tomorrow())
    assert ledgers.in_postgres().tokens == asked * tokens
    assert runs.post().status == (402 if asked == 50 else 200)
    ledgers.assert_agree()
