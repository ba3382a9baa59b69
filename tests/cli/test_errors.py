"""What is told, and with which exit code, when the platform does not do as asked."""

import json
import socket
from collections.abc import Callable

import pytest

from tests.cli.conftest import Map
from tests.cli.test_follow import OVER, refusal
from tests.integration.web import Answers, Seen, reply

SAY = Callable[[Answers], Map]
NONE = json.dumps({"items": [], "has_more": False, "next_cursor": None})


@pytest.mark.parametrize(
    ("status", "error_code", "code"),
    [
        (401, "INVALID_API_KEY", 3),
        (402, "BUDGET_EXCEEDED", 1),
        (403, "INSUFFICIENT_SCOPE", 1),
        (404, "TOOL_NOT_FOUND", 1),
        (409, "DUPLICATE_TOOL_NAME", 1),
        (422, "VALIDATION_ERROR", 1),
        (429, "RATE_LIMIT_EXCEEDED", 1),
        (500, "INTERNAL_SERVER_ERROR", 4),
        (502, "MODEL_PROVIDER_FAILED", 1),
        (503, "SERVICE_UNAVAILABLE", 4),
        (504, "DEADLINE_EXCEEDED", 4),
    ],
)
def test_exit_codes(answering: SAY, status: int, error_code: str, code: int) -> None:
    user = answering(lambda _: reply(refusal(error_code), status))
    told = user("tools", "list", code=code)
    assert f"No ({error_code})" in told.stderr
    assert 1 <= len(told.stderr.splitlines()) <= 2
    assert not told.stdout


def test_errors_of_fields_are_named(answering: SAY) -> None:
    errors = [{"field": "query.name", "message": "Too long", "type": "x"}]
    body = {"error_code": "VALIDATION_ERROR", "message": "No", "details": {"errors": errors}}
    user = answering(lambda _: reply(json.dumps(body), 422))
    told = user("tools", "list", code=1)
    assert told.stderr == "No (VALIDATION_ERROR)\nquery.name: Too long\n"


@pytest.mark.parametrize(("status", "code"), [(200, 1), (302, 1), (404, 1), (502, 4)])
def test_an_answer_of_somebody_else_is_told_as_such(answering: SAY, status: int, code: int) -> None:
    user = answering(lambda _: reply("<html>", status, Location="http://127.0.0.1:9/"))
    assert "is that its URL?" in user("tools", "list", code=code).stderr


def test_a_platform_that_is_not_there_is_told_by_its_address(nobody: Map) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    nobody.key = "a-key"
    assert nobody.url in nobody("tools", "list", code=4).stderr


def test_no_arguments_and_wrong_ones_are_usage(nobody: Map) -> None:
    for words in ([], ["runs"], ["nothing"], ["runs", "get", "no-id"], ["tools", "list", "--no"]):
        nobody(*words, code=2)


# ── Too many requests ───────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("times", [1, 2])
def test_a_short_wait_is_waited_for_and_told(answering: SAY, times: int) -> None:
    answers = [reply(refusal("RATE_LIMIT_EXCEEDED"), 429, Retry_After="1")] * times + [reply(NONE)]
    told = answering(lambda _: answers.pop(0))("tools", "list", "--json")
    assert told.stderr == "No: trying again in 1 s\n" * times
    assert json.loads(told.stdout)["items"] == []


@pytest.mark.parametrize("wait", ["61", "soon"])
def test_a_long_wait_is_not(answering: SAY, wait: str) -> None:
    user = answering(lambda _: reply(refusal("RATE_LIMIT_EXCEEDED"), 429, Retry_After=wait))
    assert user("tools", "list", code=1).stderr == "No (RATE_LIMIT_EXCEEDED)\n"


def test_it_waits_twice_and_no_more(answering: SAY) -> None:
    seen: list[Seen] = []

    def answer(request: Seen) -> list[bytes]:
        seen.append(request)
        return reply(refusal("TOO_MANY_RUNS"), 429, Retry_After="0")

    told = answering(answer)("tools", "list", code=1)
    assert len(seen) == 3
    assert told.stderr.splitlines()[-1] == "No (TOO_MANY_RUNS)"


# ── A request whose answer is lost ──────────────────────────────────────────────────────────────
def test_a_run_is_started_once_whatever_happens_to_the_connection(answering: SAY) -> None:
    seen: list[Seen] = []
    run = OVER | {"execution_id": "x", "warning": None}

    def answer(request: Seen) -> list[bytes]:
        seen.append(request)
        busy = reply(refusal("IDEMPOTENCY_KEY_IN_USE"), 409, Retry_After="1")
        return [[b""], busy, reply(json.dumps(run))][len(seen) - 1]

    agent = "650e8400-e29b-41d4-a716-446655440000"
    told = answering(answer)("runs", "start", agent, "What is new?", "--follow")
    assert told.stdout == "Done\n"
    assert len(seen) == 3
    assert len({s.headers["idempotency-key"] for s in seen}) == 1
    assert {s.headers["prefer"] for s in seen} == {"respond-async"}


def test_what_has_no_such_key_is_not_sent_again(answering: SAY) -> None:
    seen: list[Seen] = []

    def answer(request: Seen) -> list[bytes]:
        seen.append(request)
        return [b""]

    answering(answer)("tools", "create", "web", "--description", "d", code=4)
    assert len(seen) == 1
