"""The same run requested again, with the same `Idempotency-Key`."""

import pytest

from functions.runs.llm.messages import ProviderError
from tests.conftest import Connection
from tests.integration.running import BACKGROUND, Runs

KEY = {"Idempotency-Key": "once"}


def test_a_run_that_is_asked_for_again_is_told_again(runs: Runs) -> None:
    first, second = (runs.post(KEY) for _ in range(2))
    assert (first.status, second.status, second.text) == (200, 200, first.text)
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert len(runs.model.asked) == 1
    reused = runs.post(KEY, prompt="Another")
    assert (reused.status, reused.error_code) == (422, "IDEMPOTENCY_KEY_REUSED")


def test_a_background_run_that_is_asked_for_again_is_started_once(runs: Runs) -> None:
    headers = {**BACKGROUND, **KEY}
    first = runs.post(headers)
    runs.engine.work(runs.engine.queued[0])
    second = runs.post(headers)
    assert (first.status, second.status, second.text) == (202, 202, first.text)
    assert second.headers["location"] == first.headers["location"]
    assert len(runs.engine.queued) == 1


def test_a_run_that_failed_fails_again_without_asking_anybody(runs: Runs) -> None:
    runs.model.script = [ProviderError("rate_limited", "Busy")]
    first, second = (runs.post(KEY) for _ in range(2))
    assert (first.status, second.status, second.text) == (502, 502, first.text)
    assert second.headers["idempotency-replayed"] == "true"
    assert len(runs.model.asked) == 1


def test_a_run_that_is_still_under_way_is_a_conflict(
    runs: Runs, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.post(KEY)
    admin.execute("update app.executions set status = 'running', finished_at = null")
    monkeypatch.setattr("functions.runs.service.MAX_REPLAY_SECONDS", 0.2)
    second = runs.post(KEY)
    assert (second.status, second.error_code) == (409, "IDEMPOTENCY_KEY_IN_USE")
    assert len(runs.model.asked) == 1
