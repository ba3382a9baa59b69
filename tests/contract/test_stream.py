"""Server-sent events at the local gateway: what a function tells piece by piece is one stream."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.tiny import TEMPLATE, Api, MakeApi

FOLLOW = """
  Tell:
    Type: AWS::Serverless::Function
    Properties:
      Handler: tests.contract.handlers.tell
      Timeout: 5
      Events:
        Any: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /tell, Method: ANY, Auth: {Authorizer: NONE}}}
"""  # noqa: E501 - an event a line


@pytest.fixture(scope="module")
def api(make_api: MakeApi) -> Api:
    return make_api(TEMPLATE + FOLLOW, sandboxes=1)


def pieces(answer: httpx.Response) -> Iterator[tuple[float, str]]:
    """Yield when what came."""
    for text in answer.iter_text():
        yield time.monotonic(), text


def test_a_stream_stays_open_and_goes_on_after_the_last_id(api: Api, tmp_path: Path) -> None:
    asked = {"folder": str(tmp_path), "until": "3", "retry": "300"}
    with api.http.stream("GET", "/tell", params=asked, headers={"X": "kept"}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert "content-length" not in answer.headers
        came = list(pieces(answer))
    assert "".join(text for _, text in came) == "".join(
        f"retry: 300\n\nid: {n}\ndata: of {n - 1}\n\n" for n in (1, 2, 3)
    )
    assert came[1][0] - came[0][0] > 0.25  # it waits as it was told
    assert [call["last"] for call in calls(tmp_path)] == [None, "1", "2", "3"]
    assert {call["x"] for call in calls(tmp_path)} == {"kept"}


def test_a_client_that_begins_in_the_middle_gets_the_rest(api: Api, tmp_path: Path) -> None:
    asked = {"folder": str(tmp_path), "until": "3", "retry": "0"}
    answer = api.http.get("/tell", params=asked, headers={"last-event-id": "2"})
    assert answer.text == "retry: 0\n\nid: 3\ndata: of 2\n\n"
    assert [call["last"] for call in calls(tmp_path)] == ["2", "3"]


def test_after_a_client_has_gone_the_function_is_not_called_again(api: Api, tmp_path: Path) -> None:
    asked = {"folder": str(tmp_path), "until": "100", "retry": "100"}
    with api.http.stream("GET", "/tell", params=asked) as answer:
        next(answer.iter_text())
    time.sleep(0.3)
    made = len(calls(tmp_path))
    time.sleep(0.5)
    assert len(calls(tmp_path)) == made < 100


def test_a_client_that_leaves_while_a_function_waits_frees_its_sandbox(
    api: Api, tmp_path: Path
) -> None:
    asked = {"folder": str(tmp_path), "until": "100", "retry": "0", "hold": "4"}
    with api.http.stream("GET", "/tell", params=asked, headers={"last-event-id": "1"}) as answer:
        next(answer.iter_text())
        time.sleep(0.3)  # held now, in the one sandbox there is
    begun = time.monotonic()
    api.http.post("/tell", params={"folder": str(tmp_path), "until": "0"})
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_only_what_a_browser_would_repeat_is_repeated(
    api: Api, tmp_path: Path, method: str
) -> None:
    answer = api.http.request(method, "/tell", params={"folder": str(tmp_path), "until": "3"})
    assert "content-length" in answer.headers
    assert len(calls(tmp_path)) == 1


def test_a_function_that_fails_in_mid_stream_ends_it(api: Api, tmp_path: Path) -> None:
    asked = {"folder": str(tmp_path), "until": "9", "retry": "0", "fail": "2"}
    answer = api.http.get("/tell", params=asked)
    assert answer.text.endswith("id: 2\ndata: of 1\n\n")


def calls(folder: Path) -> list[dict[str, str | None]]:
    """Return what the function was called with."""
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
