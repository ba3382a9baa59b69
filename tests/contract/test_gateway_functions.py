"""The local gateway runs functions as Lambda does: failures, timeouts, sandboxes."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.contract.gateway_api import GatewayApi, MakeApi
from tests.waiting import Hold

NO_ANSWERS: tuple[Any, ...] = (
    None,
    [],
    "text",
    {"statusCode": "x"},
    {"statusCode": 99},
    {"statusCode": 200, "body": {"not": "text"}},
    {"statusCode": 200, "headers": {"a": ["list"]}},
    {"statusCode": 200, "headers": {"a": "b\r\nc: d"}},
    {"statusCode": 200, "headers": {"a b": "c"}},
    {"statusCode": 200, "unknown": 1},
)


@pytest.mark.parametrize(
    "query",
    [
        {"raise": "oh"},
        {"exit": 0},
        {"letters": 6 * 1024 * 1024},
        *({"answer": json.dumps(answer)} for answer in NO_ANSWERS),
    ],
    ids=str,
)
def test_a_function_that_fails_is_a_502_and_the_next_request_works(
    api: GatewayApi, query: dict[str, Any]
) -> None:
    answer = api.obey(**query)
    assert (answer.status_code, answer.json()) == (502, {"message": "Internal server error"})
    assert api.obey(letters=1).status_code == 200


def test_a_function_that_takes_too_long_is_a_502_and_the_next_request_works(
    api: GatewayApi, tmp_path: Path
) -> None:
    answer = api.obey("/short", hold=tmp_path)
    assert (answer.status_code, answer.json()) == (502, {"message": "Internal server error"})
    assert api.obey("/short", pid=1).status_code == 200


def test_a_handler_that_does_not_load_is_a_502(api: GatewayApi) -> None:
    assert api.http.get("/broken").status_code == 502
    assert "has no attribute 'nothing'" in api.gateway.pools["Broken"].log.read_text()


def test_what_a_function_prints_and_raises_is_in_its_log(api: GatewayApi) -> None:
    api.obey(print="a line", **{"raise": "the reason"})
    log = api.gateway.pools["Obey"].log.read_text()
    assert "a line\n" in log
    assert "RuntimeError: the reason" in log


def test_the_gateway_waits_no_longer_than_its_integration_timeout(
    api: GatewayApi, tmp_path: Path
) -> None:
    answer = api.obey("/brief", hold=tmp_path)  # never released
    assert (answer.status_code, answer.json()) == (504, {"message": "Endpoint request timed out"})


def test_a_sandbox_killed_in_mid_request_is_a_502_and_is_replaced(
    make_api: MakeApi, tmp_path: Path
) -> None:
    api = make_api(sandboxes=1)
    pid = api.pid()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(api.obey, hold=tmp_path)
        Hold(tmp_path).until_held()
        os.kill(pid, signal.SIGKILL)
        assert answer.result().status_code == 502
    assert api.pid() != pid


def test_a_sandbox_killed_while_idle_is_never_noticed(make_api: MakeApi) -> None:
    api = make_api(sandboxes=1)
    pid = api.pid()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # the gateway still has to notice
    assert api.pid() != pid


def test_a_sandbox_serves_one_event_at_a_time_and_the_others_wait(
    api: GatewayApi, tmp_path: Path
) -> None:
    hold = Hold(tmp_path)
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(api.obey, hold=tmp_path) for _ in range(6)]
        hold.until_held(2)
        hold.release()
        calls = [answer.result().json() for answer in answers]
    by_pid: dict[int, list[tuple[float, float]]] = {}
    for call in calls:
        by_pid.setdefault(call["pid"], []).append((call["started"], call["ended"]))
    assert len(by_pid) == 2
    for spans in by_pid.values():
        spans.sort()
        assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_a_warm_sandbox_is_used_again(api: GatewayApi) -> None:
    assert len({api.pid() for _ in range(5)}) == 1
