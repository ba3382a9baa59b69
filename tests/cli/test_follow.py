"""Following a run: steps as they come, over whatever happens to the connection."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cli.conftest import Map, Platform
from tests.cli.test_commands import make_agent, make_tool
from tests.integration.web import Answers, Seen, reply
from tests.waiting import until

RUN = "750e8400-e29b-41d4-a716-446655440000"
SAY = Callable[[Answers], Map]


@pytest.fixture
def asker(platform: Platform, user: Map) -> Map:
    """Somebody with an agent that calls a tool."""
    make_tool(platform, user)
    make_agent(user, "Ann", "--tool", "look")
    return user


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout
    return (line.rstrip("\n") for line in process.stdout)


def waiting(user: Map, run: str) -> None:
    until(lambda: user.json("runs", "get", run)["status"] == "waiting_approval")


def test_steps_are_shown_while_the_run_goes_on(platform: Platform, asker: Map) -> None:
    with platform.upstreams.holding(("live", 2)):
        process = asker.popen("runs", "start", "Ann", "live", "--follow")
        shown = lines(process)
        assert next(shown) == "step 1: model"
        assert next(shown) == "step 1: completed"
        assert next(shown).startswith("step 2: tool look {")
        assert asker.json("history", "list")["items"][0]["status"] == "running"
    told, noted = process.communicate(timeout=30)
    assert told.splitlines() == [
        "step 2: completed",
        "step 3: model",
        "step 3: completed",
        "",
        "All done for live",
    ]
    assert noted.startswith("completed (answered): 3 steps")
    assert process.returncode == 0


def test_events_are_json_a_line_and_a_failed_run_is_an_error(asker: Map) -> None:
    told = asker("runs", "start", "Ann", "short", "--follow", "--json", "--max-steps", "1", code=1)
    events = [json.loads(line) for line in told.stdout.splitlines()]
    assert [e["event"] for e in events] == ["step_started", "step_finished", "run_finished"]
    assert events[-1]["stop_reason"] == "max_steps"
    assert "(max_steps)" in told.stderr


def test_ctrl_c_stops_following_and_says_how_to_go_on(platform: Platform, asker: Map) -> None:
    with platform.upstreams.holding(("left", 2)):
        process = asker.popen("runs", "start", "Ann", "left", "--follow")
        for _ in zip(range(3), lines(process), strict=False):
            pass
        process.send_signal(signal.SIGINT)
        _, noted = process.communicate(timeout=30)
        assert process.returncode == 130
        [run] = asker.json("history", "list")["items"]
        assert run["status"] == "running"
        assert f"`map runs follow {run['id']}`" in noted
        assert f"`map runs cancel {run['id']}`" in noted
        assert len(noted.splitlines()) == 1
    assert "All done for left" in asker("runs", "follow", run["id"]).stdout


def test_a_run_in_the_background_waits_for_a_person(platform: Platform, user: Map) -> None:
    make_tool(platform, user, "--requires-approval")
    make_agent(user, "Ann", "--tool", "look")
    runs = {
        decision: user("runs", "start", "Ann", decision, "--background").stdout.strip()
        for decision in ("approve", "reject")
    }
    for decision, run in runs.items():
        waiting(user, run)
        decided = user.json("runs", decision, run, "2", "--comment", "Seen")
        assert decided["decision"] == decision
        shown = user("runs", "follow", run).stdout
        assert f"`map runs approve {run} 2`, or reject" in shown
        assert f"All done for {decision}" in shown
    assert [platform.upstreams.calls[case, 2] for case in runs] == [1, 0]


def test_a_run_that_waits_can_be_cancelled(platform: Platform, user: Map) -> None:
    make_tool(platform, user, "--requires-approval")
    make_agent(user, "Ann", "--tool", "look")
    run = user.json("runs", "start", "Ann", "cancelled", "--background")["execution_id"]
    waiting(user, run)
    assert user.json("runs", "cancel", run)["status"] == "cancelled"
    assert "cancelled (cancelled)" in user("runs", "follow", run, code=1).stderr


# ── What happens to connections ─────────────────────────────────────────────────────────────────
def event(id_: int, name: str, **data: Any) -> str:
    return f"id: {id_}\nevent: {name}\ndata: {json.dumps(data)}\n\n"


STARTED = event(1, "step_started", number=1, kind="model", tool=None, arguments=None)
FINISHED = event(2, "step_finished", number=1, kind="model", status="completed")
OVER = {"status": "completed", "stop_reason": "answered", "response": "Done", "steps": 1}
OVER |= {"input_tokens": 1, "output_tokens": 1, "cost_usd": 0}
ENDED = event(3, "run_finished", **OVER)


def stream(*events: str) -> list[bytes]:
    return reply("retry: 10\n\n" + "".join(events), Content_Type="text/event-stream")


def cut(*events: str) -> list[bytes]:
    """Return an answer that breaks off after these events, in the middle of another."""
    [head, body] = stream(*events, "id: 9\nevent: never\ndata: {")
    return [head.replace(b"Content-Length: ", b"Content-Length: 9"), body]


def unavailable() -> list[bytes]:
    return reply(refusal("SERVICE_UNAVAILABLE"), 503, Retry_After="1")


def refusal(code: str) -> str:
    return json.dumps({"error_code": code, "message": "No", "details": {}})


def test_it_connects_again_with_the_last_id_until_the_run_is_over(answering: SAY) -> None:
    answers = [stream(STARTED), stream(), cut(FINISHED), unavailable(), stream(ENDED)]
    seen: list[Seen] = []

    def answer(request: Seen) -> list[bytes]:
        seen.append(request)
        return answers[len(seen) - 1]

    told = answering(answer)("runs", "follow", RUN)
    assert told.stdout == "step 1: model\nstep 1: completed\n\nDone\n"
    assert [s.headers.get("last-event-id") for s in seen] == [None, "1", "1", "2", "2"]
    assert {s.path for s in seen} == {f"/api/v1/executions/{RUN}/events"}
    assert {s.headers["x-api-key"] for s in seen} == {"a-key"}


def test_a_run_whose_end_was_missed_is_read(answering: SAY) -> None:
    def answer(request: Seen) -> list[bytes]:
        return reply(status=204) if "events" in request.path else reply(json.dumps(OVER))

    assert answering(answer)("runs", "follow", RUN).stdout == "\nDone\n"


def test_an_unknown_run_is_told_at_once(answering: SAY) -> None:
    told = answering(lambda _: reply(refusal("EXECUTION_NOT_FOUND"), 404))
    assert told("runs", "follow", RUN, code=1).stderr == "No (EXECUTION_NOT_FOUND)\n"


def test_a_platform_that_stays_away_is_given_up(
    answering: SAY, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("map_cli.client.MAX_FAILURES", 1)
    answers = [stream(STARTED), unavailable(), unavailable()]
    told = answering(lambda _: answers.pop(0))("runs", "follow", RUN, code=4)
    assert told.stdout == "step 1: model\n"
    assert f"`map runs follow {RUN}`" in told.stderr
    assert told.stderr.endswith("No (SERVICE_UNAVAILABLE)\n")
