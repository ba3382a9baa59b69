"""Server-sent events at the local gateway: a function's responses become one stream."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.contract.gateway_api import TEMPLATE, GatewayApi, MakeApi
from tests.waiting import Hold, until

EVENTS = """
  NextEvent:
    Type: AWS::Serverless::Function
    Properties:
      Handler: tests.contract.handlers.next_event
      Timeout: 600
      Events:
        Any: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /events, Method: ANY, Auth: {Authorizer: NONE}}}
"""  # noqa: E501 - an event a line


@pytest.fixture(scope="module")
def api(make_api: MakeApi) -> GatewayApi:
    return make_api(TEMPLATE + EVENTS, sandboxes=1)


def test_a_stream_stays_open_and_goes_on_after_the_last_id(api: GatewayApi, tmp_path: Path) -> None:
    asked = {"folder": str(tmp_path), "until": "3", "retry": "300"}
    with api.http.stream("GET", "/events", params=asked, headers={"X": "kept"}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert "content-length" not in answer.headers
        text = "".join(answer.iter_text())
    assert text == "".join(f"retry: 300\n\nid: {n}\ndata: of {n - 1}\n\n" for n in (1, 2, 3))
    assert [call["last"] for call in calls(tmp_path)] == [None, "1", "2", "3"]
    assert {call["x"] for call in calls(tmp_path)} == {"kept"}
    times = [call["at"] for call in calls(tmp_path)]
    assert all(later - sooner >= 0.3 for sooner, later in pairwise(times))  # it waits as told


def test_a_client_that_begins_in_the_middle_gets_the_rest(api: GatewayApi, tmp_path: Path) -> None:
    asked = {"folder": str(tmp_path), "until": "3", "retry": "0"}
    answer = api.http.get("/events", params=asked, headers={"last-event-id": "2"})
    assert answer.text == "retry: 0\n\nid: 3\ndata: of 2\n\n"
    assert [call["last"] for call in calls(tmp_path)] == ["2", "3"]


def test_after_a_client_has_gone_the_function_is_not_called_again(
    api: GatewayApi, tmp_path: Path
) -> None:
    asked = {"folder": str(tmp_path), "until": "100", "retry": "100"}
    with api.http.stream("GET", "/events", params=asked) as answer:
        next(answer.iter_text())
    until(lambda: api.is_idle)
    assert len(calls(tmp_path)) < 100


def test_a_client_that_leaves_while_a_function_waits_frees_its_sandbox(
    api: GatewayApi, tmp_path: Path
) -> None:
    asked = {"folder": str(tmp_path), "until": "100", "retry": "0", "hold": "yes"}
    with api.http.stream("GET", "/events", params=asked, headers={"last-event-id": "1"}) as answer:
        text = answer.iter_text()  # kept: without it the connection is closed at once
        next(text)
        Hold(tmp_path).until_held()  # in the one sandbox there is, and never released
    answer = api.http.post("/events", params={"folder": str(tmp_path), "until": "0"})
    assert answer.status_code == 204


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_only_what_a_browser_would_repeat_is_repeated(
    api: GatewayApi, tmp_path: Path, method: str
) -> None:
    answer = api.http.request(method, "/events", params={"folder": str(tmp_path), "until": "3"})
    assert "content-length" in answer.headers
    assert len(calls(tmp_path)) == 1


def test_a_function_that_fails_in_mid_stream_ends_it(api: GatewayApi, tmp_path: Path) -> None:
    asked = {"folder": str(tmp_path), "until": "9", "retry": "0", "fail": "2"}
    answer = api.http.get("/events", params=asked)
    assert answer.text.endswith("id: 2\ndata: of 1\n\n")


def calls(folder: Path) -> list[dict[str, Any]]:
    """Return when and with what the function was called."""
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
