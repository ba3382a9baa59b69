"""HTTP calls of tools: what the model reads of a response, and of its absence."""

import base64
import html
import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from functions.runs.definitions import ToolResult
from tests.integration.calling import call, only
from tests.integration.web import Network, Web, reply
from tests.waiting import Stopwatch

CANARY = "canary-2f6c1e"


# ── What is told ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("status", [301, 400, 401, 404, 429, 500, 503])
def test_an_answer_that_is_no_success_is_told_with_its_status(web: Web, status: int) -> None:
    web.answers = lambda _: reply("no such thing", status)
    told = call(web.url)
    assert told == ToolResult(
        ok=False, content=f"The call failed with HTTP status {status}.\nno such thing"
    )
    web.answers = lambda _: reply("", status)
    assert call(web.url).content == f"The call failed with HTTP status {status}."


def test_of_an_error_no_more_is_told_than_its_beginning(web: Web) -> None:
    web.answers = lambda _: reply("x" * 100_000, 500)
    assert len(call(web.url).content) < 2100
    web.answers = lambda _: reply("x" * 100_000)
    assert call(web.url).content == "x" * 100_000


@pytest.mark.parametrize("status", [200, 201, 204])
def test_an_answer_without_a_text_worked(web: Web, status: int) -> None:
    web.answers = lambda _: reply("", status)
    assert call(web.url) == ToolResult(ok=True, content=f"Success ({status}, empty response).")


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe", "é".encode("latin-1"), "hello".encode("utf-16"), b"a\0b", b"\xed\xa0\x80"],
    ids=ascii,
)
def test_an_answer_that_is_no_text_is_told_as_such(web: Web, body: bytes) -> None:
    for status in (200, 500):
        web.answers = lambda _, status=status: reply(body, status)  # type: ignore[misc]  # mypy knows no defaults here
        told = call(web.url)
        assert not told.ok
        assert told.content.endswith("(the response is not UTF-8 text)")


def test_an_answer_in_utf_8_is_told_without_a_mark_before_it(web: Web) -> None:
    web.answers = lambda _: reply("\ufeffü🤖")
    assert call(web.url) == ToolResult(ok=True, content="ü🤖")


def test_an_answer_may_have_256_kb_and_no_more(web: Web) -> None:
    for more in (0, 1):
        web.answers = lambda _, more=more: reply("x" * (256 * 1024 + more))  # type: ignore[misc]  # see above
        told = call(web.url)
        assert told.ok == (not more)
    assert told.content == "The call failed. The response is larger than 262144 bytes."


AWKWARD = r"""Ca/n+a=r y<&>"'\?%é"""[:-1]
ECHOES = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON with slashes escaped": lambda value: json.dumps(value).replace("/", "\\/"),
    "HTML": html.escape,
    "in a path": quote,
    "in a part of a path": lambda value: quote(value, safe=""),
    "in a query": quote_plus,
    "in lower case": str.lower,
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("status", [200, 500])
def test_an_echo_of_a_secret_is_masked(web: Web, echo: Any, status: int) -> None:
    web.answers = lambda seen: reply(f"<{echo(seen.headers['x-a'])}>", status)
    headers = {"X-A": "{{secret:key}}"}
    told = call(web.url, headers=headers, secrets={"key": AWKWARD}).content
    assert told.splitlines()[-1].replace('"', "") == "<[secret]>"
    assert only(web).headers["x-a"] == AWKWARD


def test_of_secrets_within_each_other_nothing_is_left(web: Web) -> None:
    secrets = {"short": "abc", "long": "abcdef", "other": "defghi"}
    web.answers = lambda seen: reply(seen.headers["x-a"])
    headers = {"X-A": "{{secret:long}} {{secret:short}} {{secret:other}}"}
    assert call(web.url, headers=headers, secrets=secrets).content == " ".join(["[secret]"] * 3)


def test_a_secret_at_the_end_of_what_is_told_of_an_error_is_not_told_in_part(web: Web) -> None:
    web.answers = lambda seen: reply("x" * 1995 + seen.headers["x-a"], 500)
    headers = {"X-A": "{{secret:key}}"}
    told = call(web.url, headers=headers, secrets={"key": CANARY})
    assert "cana" not in told.content
    assert told.content.endswith("x[secr")


# ── What does not come back ─────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("seconds", "timeout_seconds"), [(0.3, 60), (30, 1)])
def test_a_slow_endpoint_is_given_up_in_the_shorter_time(
    web: Web, seconds: float, timeout_seconds: int
) -> None:
    web.answers = lambda _: web.dripping([b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000])
    with Stopwatch() as watch:
        told = call(web.url, seconds=seconds, timeout_seconds=timeout_seconds)
    assert told == ToolResult(
        ok=False, content="The call failed. There was no complete response in time."
    )
    limit = min(seconds, timeout_seconds)
    assert watch.elapsed > limit - 0.05
    assert watch.seconds < limit + 0.6


def test_an_endpoint_that_is_away_is_told(network: Network, web: Web) -> None:
    network.names["gone.example"] = [["93.184.216.34"]]
    for url in ("https://gone.example/", "https://unknown.example/"):
        told = call(url)
        assert not told.ok
        assert told.content.startswith("The call failed. The host ")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
        "https://metadata.example/",
        "http://2852039166/",
        "file:///etc/passwd",
    ],
)
def test_a_refused_address_is_told_and_never_connected_to(network: Network, url: str) -> None:
    network.names["metadata.example"] = [["169.254.169.254"]]
    told = call(url)
    assert not told.ok
    assert told.content.startswith("The call was refused. ")
    assert network.connected == []


def test_without_the_setting_a_local_address_is_refused(network: Network, web: Web) -> None:
    network.names["local.example"] = [["127.0.0.1"]]
    for url in (web.url, f"https://127.0.0.1:{web.port}/", "https://local.example/"):
        told = call(url, plain=False)
        assert told.content.startswith("The call was refused. ")
    assert network.connected == []
