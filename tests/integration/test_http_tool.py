"""HTTP calls of tools: what is sent, and which calls are not made."""

import json
import time
from typing import Any

import pytest

from functions.runs.definitions import ToolResult
from functions.runs.tools import http_tool
from tests.integration.calling import call, not_called, only
from tests.integration.web import Web

BODIES = ("POST", "PUT", "PATCH")
METHODS = ("GET", *BODIES, "DELETE")
CANARY = "canary-2f6c1e"


# ── What is sent ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("method", METHODS)
def test_arguments_go_into_the_url_and_the_rest_as_a_query_or_as_json(
    web: Web, method: str
) -> None:
    arguments = {"id": 7, "q": "a&b=ü", "n": 1.5, "yes": True, "tags": ["x", 2], "by": {"a": None}}
    told = call(f"{web.url}/items/{{id}}", arguments | {"none": None}, method=method)
    assert told == ToolResult(ok=True, content="hello")
    seen = only(web)
    assert seen.method == method
    assert seen.headers["user-agent"] == "mini-agent-platform"
    rest = {name: value for name, value in arguments.items() if name != "id"} | {"none": None}
    if method in BODIES:
        assert (seen.path, json.loads(seen.body)) == ("/items/7", rest)
        assert seen.headers["content-type"] == "application/json"
    else:
        query = "q=a%26b%3D%C3%BC&n=1.5&yes=true&tags=x&tags=2&by=%7B%22a%22%3A+null%7D"
        assert (seen.path, seen.body) == (f"/items/7?{query}", b"")
        assert "content-type" not in seen.headers


def test_what_is_left_joins_the_query_that_the_url_has(web: Web) -> None:
    call(f"{web.url}/search?q={{q}}&v=1", {"q": "a b", "page": 2})
    call(f"{web.url}/search", {"none": None, "empty": []})
    call(f"{web.url}/search", method="POST")
    assert [(seen.path, seen.body) for seen in web.seen] == [
        ("/search?q=a%20b&v=1&page=2", b""),
        ("/search", b""),
        ("/search", b"{}"),
    ]


PARTS: dict[str, Any] = {
    "a/b": "a%2Fb",
    "../admin": "..%2Fadmin",
    "...": "...",
    "?x=1": "%3Fx%3D1",
    "#top": "%23top",
    "%2e%2e": "%252e%252e",
    "a\\b": "a%5Cb",
    "a\r\nHost: b": "a%0D%0AHost%3A%20b",
    "\0": "%00",
    "ü 🤖": "%C3%BC%20%F0%9F%A4%96",
    "{other}": "%7Bother%7D",
    "@example.com": "%40example.com",
    "{{secret:key}}": "%7B%7Bsecret%3Akey%7D%7D",
}


@pytest.mark.parametrize(("given", "sent"), PARTS.items(), ids=map(ascii, PARTS))
def test_a_placeholder_takes_one_part_of_the_url_whatever_it_holds(
    web: Web, given: str, sent: str
) -> None:
    told = call(f"{web.url}/a/{{x}}/b?c={{x}}", {"x": given}, secrets={"key": CANARY})
    assert told.ok
    assert only(web).path == f"/a/{sent}/b?c={sent}"


@pytest.mark.parametrize(("given", "sent"), [(0, "0"), (-1.5, "-1.5"), (True, "true")])
def test_a_number_may_be_in_the_url(web: Web, given: object, sent: str) -> None:
    assert call(f"{web.url}/{{x}}", {"x": given}).ok
    assert only(web).path == f"/{sent}"


@pytest.mark.parametrize("given", [{}, *({"x": x} for x in ("", None, [], ["a"], {"a": 1}))])
def test_a_placeholder_without_a_text_or_number_is_no_call(web: Web, given: dict[str, Any]) -> None:
    not_called(call(f"{web.url}/a/{{x}}", given), web, "The argument 'x' is required")


@pytest.mark.parametrize("url", ["/a/{x}/b", "/a/{x}", "/{x}?q=1", "/a/{x}{y}/b", "/a/.{y}"])
def test_an_argument_that_would_climb_out_of_its_place_is_no_call(web: Web, url: str) -> None:
    for x, y in ((".", "."), ("..", "")):
        arguments = {"x": x, "y": y or "."}
        if "{y}" not in url or y:
            not_called(call(web.url + url, arguments), web, "would change the path")


NOT_SENDABLE: dict[str, Any] = {
    "half a character": "\ud800",
    "no number": float("nan"),
    "infinite": float("inf"),
    "very long number": 10**5000,
}


@pytest.mark.parametrize("unfit", NOT_SENDABLE.values(), ids=NOT_SENDABLE)
@pytest.mark.parametrize("parameters", [None, {"type": "object"}], ids=["free", "schema"])
def test_what_utf_8_or_json_cannot_hold_is_no_call(
    web: Web, unfit: object, parameters: dict[str, Any] | None
) -> None:
    for url, method, arguments in (
        ("/{x}", "GET", {"x": unfit}),
        ("/", "GET", {"x": unfit}),
        ("/", "GET", {"x": [unfit]}),
        ("/{y}", "POST", {"x": unfit, "y": unfit}),
    ):
        told = call(web.url + url, arguments, method=method, parameters=parameters)
        not_called(told, web, "is not valid JSON or UTF-8")


def test_half_a_character_is_escaped_in_json(web: Web) -> None:
    assert call(web.url, {"x": "\ud800"}, method="POST").ok
    assert only(web).body == b'{"x": "\\ud800"}'


def test_half_a_character_in_a_name_is_no_call(web: Web) -> None:
    strict = {"type": "object", "properties": {}, "additionalProperties": False}
    for parameters in (None, strict):
        told = call(web.url, {"\ud800": 1}, parameters=parameters)
        not_called(told, web, "is not valid JSON or UTF-8")


@pytest.mark.parametrize("method", BODIES)
def test_no_number_is_in_no_body(web: Web, method: str) -> None:
    not_called(call(web.url, {"x": float("nan")}, method=method), web, "is not valid JSON or UTF-8")


def test_a_url_that_arguments_make_too_long_is_refused(web: Web) -> None:
    told = call(f"{web.url}/{{x}}", {"x": "x" * 8000})
    assert (told.ok, web.seen) == (False, [])
    assert told.content.startswith("The call was refused. The URL is too long")


# ── Headers and secrets ─────────────────────────────────────────────────────────────────────────
def test_headers_are_sent_with_the_secrets_that_they_name(web: Web) -> None:
    headers = {
        "Authorization": "Basic {{secret:user}}:{{secret:pass.word_1-x}}",
        "X-Twice": "{{secret:user}} {{secret:user}}",
        "X-Plain": "{id} {{x}}",
    }
    secrets = {"user": "{{secret:pass.word_1-x}}", "pass.word_1-x": r"\1\g<0>"}
    endpoint = http_tool.Endpoint(method="GET", url=web.url, headers=headers)
    assert http_tool.secrets_named(endpoint) == sorted(secrets)
    assert call(web.url, {"id": 1}, headers=headers, secrets=secrets).ok
    sent = only(web).headers
    assert sent["authorization"] == r"Basic {{secret:pass.word_1-x}}:\1\g<0>"
    assert sent["x-twice"] == "{{secret:pass.word_1-x}} {{secret:pass.word_1-x}}"
    assert sent["x-plain"] == "{id} {{x}}"


def test_the_tools_own_headers_go_before_ours(web: Web) -> None:
    headers = {"user-agent": "theirs", "content-TYPE": "application/vnd.api+json"}
    call(web.url, method="POST", headers=headers)
    assert only(web).headers["user-agent"] == "theirs"
    assert only(web).headers["content-type"] == "application/vnd.api+json"


def test_a_secret_that_is_not_there_is_no_call(web: Web) -> None:
    headers = {"X-A": "{{secret:there}}", "X-B": "{{secret:gone}}"}
    told = call(web.url, headers=headers, secrets={"there": CANARY})
    not_called(told, web, "It needs the secret 'gone', which is not set")
    assert CANARY not in told.content


@pytest.mark.parametrize("end", ["\n", "\r", "\r\nX-B: c", "\nx", "\0", "\x7f", "é", "\t", " "])
def test_a_secret_that_no_header_can_hold_is_no_call_and_not_told(web: Web, end: str) -> None:
    told = call(web.url, headers={"X-A": "{{secret:key}}"}, secrets={"key": CANARY + end})
    not_called(told, web, "The secret in the header 'X-A' has characters that no header can hold")
    assert CANARY not in told.content


@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_a_header_of_nothing_is_no_call(web: Web, empty: str) -> None:
    told = call(web.url, headers={"X-A": "{{secret:key}}"}, secrets={"key": empty})
    not_called(told, web, "no header can hold")


# ── Parameters ──────────────────────────────────────────────────────────────────────────────────
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"q": {"$ref": "#/$defs/word"}, "n": {"type": "integer"}},
    "required": ["q"],
    "additionalProperties": False,
    "$defs": {"word": {"type": "string", "pattern": "^[a-zé]+$"}},
}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, '- arguments: "q" is a required property'),
        ({"q": "A"}, "- q: "),
        ({"q": ["a"]}, "- q: "),
        ({"q": "a", "n": "1"}, "- n: "),
        ({"q": "a", "m": 1}, "- arguments: "),
    ],
)
def test_arguments_that_do_not_fit_are_told_of_and_not_sent(
    web: Web, arguments: dict[str, Any], complaint: str
) -> None:
    told = call(web.url, arguments, parameters=PARAMETERS)
    not_called(told, web, "The arguments do not match its parameters:\n" + complaint)
    assert call(web.url, {"q": "é", "n": 1}, parameters=PARAMETERS).ok


def test_complaints_are_few_and_short(web: Web) -> None:
    parameters = {"type": "object", "additionalProperties": {"type": "integer"}}
    arguments = {f"{n}{'x' * 400}": "y" * 10_000 for n in range(50)}
    told = call(web.url, arguments, parameters=parameters)
    not_called(told, web, "do not match")
    _, *complaints = told.content.splitlines()
    assert [len(complaint) for complaint in complaints] == [300] * 3


def test_a_pattern_that_others_take_for_ever_to_match_is_matched_at_once(web: Web) -> None:
    for pattern in ("^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(.*)*x$"):
        parameters = {"type": "object", "properties": {"q": {"pattern": pattern}}}
        began = time.thread_time()
        not_called(call(web.url, {"q": "a" * 20_000 + "!"}, parameters=parameters), web, "- q: ")
        assert time.thread_time() - began < 1


def test_no_other_document_is_loaded_for_a_schema(web: Web) -> None:
    parameters = {"type": "object", "$ref": f"{web.url}/schema"}
    told = call(f"{web.url}/tool", parameters=parameters)
    assert (told.ok, web.seen) == (False, [])
