"""What a tool does: its parameters, its endpoint and its marks, through the Lambda handler."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mini_agent.settings import settings
from tests.integration.client import TOOL, Client, refused_fields

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"q": {"$ref": "#/$defs/text"}, "n": {"type": "integer"}},
    "required": ["q"],
    "$defs": {"text": {"type": "string", "pattern": "^[a-zé]+$"}},
}
ENDPOINT: dict[str, Any] = {
    "method": "POST",
    "url": "https://example.com:8443/v1/{q}?n={n}",
    "headers": {"Authorization": "Bearer {{secret:search_api_key}}", "X-From": "us"},
    "timeout_seconds": 60,
}
DOES: dict[str, Any] = {
    "parameters": PARAMETERS,
    "endpoint": ENDPOINT,
    "idempotent": True,
    "requires_approval": True,
}
DOES_NOTHING = {
    "parameters": None,
    "endpoint": None,
    "idempotent": False,
    "requires_approval": False,
}


def test_a_tool_does_nothing_unless_it_is_told_what(client: Client) -> None:
    tool = client.tool()
    assert {name: tool[name] for name in DOES} == DOES_NOTHING
    shortest = {"method": "GET", "url": "https://example.com"}
    assert client.tool("short", endpoint=shortest)["endpoint"] == shortest | {
        "headers": {},
        "timeout_seconds": 10,
    }


def test_what_a_tool_does_is_told_wherever_the_tool_is_told(client: Client) -> None:
    tool = client.tool(**DOES)
    assert {name: tool[name] for name in DOES} == DOES
    assert client("GET", f"/tools/{tool['id']}").json == tool
    assert client("GET", "/tools").json["items"] == [tool]
    agent = client.agent(tool_ids=[tool["id"]])
    assert agent["tools"] == [tool]
    assert client("GET", f"/agents/{agent['id']}").json["tools"] == [tool]
    assert client("GET", "/agents").json["items"][0]["tools"] == [tool]


@pytest.mark.parametrize("field", DOES)
def test_what_a_tool_does_is_changed_alone_and_stays_with_other_changes(
    client: Client, field: str
) -> None:
    other: dict[str, Any] = {
        "parameters": {"type": "object"},
        "endpoint": ENDPOINT | {"url": "https://example.org/"},
        "idempotent": False,
        "requires_approval": False,
    }
    tool = client.tool(**DOES)
    changed = client("PUT", f"/tools/{tool['id']}", {field: other[field]}).json
    assert changed == tool | {field: other[field], "updated_at": changed["updated_at"]}
    renamed = client("PUT", f"/tools/{tool['id']}", {"name": "other"}).json
    assert renamed == changed | {"name": "other", "updated_at": renamed["updated_at"]}


def test_null_takes_parameters_and_endpoint_away_and_is_refused_for_the_rest(
    client: Client,
) -> None:
    tool = client.tool(**DOES)
    for field in ("parameters", "endpoint"):
        assert client("PUT", f"/tools/{tool['id']}", {field: None}).json[field] is None
    for field in ("idempotent", "requires_approval"):
        refused = client("PUT", f"/tools/{tool['id']}", {field: None})
        assert refused_fields(refused) == {f"body.{field}"}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"items": schema}
    return {"type": "object", "properties": {"a": schema}}


EXPLODING = {
    "type": "object",
    "allOf": [{"$ref": "#/$defs/0"}],
    "$defs": {
        str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} if n < 15 else {} for n in range(16)
    },
}
UNFIT_PARAMETERS: dict[str, Any] = {
    "no object": [],
    "text": "object",
    "no type": {"properties": {}},
    "other type": {"type": "array"},
    "types": {"type": ["object", "null"]},
    "unknown type": {"type": "object", "properties": {"a": {"type": "strin"}}},
    "bad properties": {"type": "object", "properties": {"a": 7}},
    "bad pattern": {"type": "object", "properties": {"a": {"pattern": "("}}},
    "pattern of unbounded time": {"type": "object", "properties": {"a": {"pattern": r"^(a)\1$"}}},
    "remote": {"type": "object", "properties": {"a": {"$ref": "https://example.com/a"}}},
    "file": {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}},
    "missing": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}},
    "itself": {"type": "object", "properties": {"a": {"$ref": "#"}}},
    "circle": {
        "type": "object",
        "$ref": "#/$defs/a",
        "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}},
    },
    "other base": {"type": "object", "$id": "https://example.com/"},
    "anchor": {"type": "object", "$anchor": "a"},
    "dynamic anchor": {"type": "object", "$dynamicAnchor": "a"},
    "dynamic": {"type": "object", "properties": {"a": {"$dynamicRef": "#a"}}},
    "another draft within": {
        "type": "object",
        "$defs": {"a": {}},
        "properties": {
            "a": {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "id": "http://example.com/",
                "allOf": [{"$ref": "#/$defs/a"}],
                "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}},
            }
        },
    },
    "properties over again": {"type": "object", "unevaluatedProperties": False},
    "items over again": {"type": "object", "properties": {"a": {"unevaluatedItems": {}}}},
    "pattern of much memory": {"type": "object", "properties": {"a": {"pattern": r"\p{L}{99}"}}},
    "deep": nested(70),
    "exploding": EXPLODING,
    "large": {"type": "object", "description": "x" * 16_384},
    "NUL": {"type": "object", "description": "\0"},
    "half a character": {"type": "object", "description": "\ud800"},
    "no number": {"type": "object", "default": float("inf")},
}


@pytest.mark.parametrize("unfit", UNFIT_PARAMETERS.values(), ids=UNFIT_PARAMETERS)
def test_unfit_parameters_are_refused_in_both_create_and_update(
    client: Client, unfit: object
) -> None:
    assert refused_fields(client("POST", "/tools", TOOL | {"parameters": unfit})) == {
        "body.parameters"
    }
    tool = client.tool(**DOES)
    refused = client("PUT", f"/tools/{tool['id']}", {"parameters": unfit})
    assert refused_fields(refused) == {"body.parameters"}
    assert client("GET", f"/tools/{tool['id']}").json == tool


def test_parameters_may_be_as_large_and_as_deep_as_the_limits_say(client: Client) -> None:
    overhead = len(json.dumps({"type": "object", "description": ""}))
    for schema in (
        {"type": "object", "description": "x" * (16_384 - overhead)},
        nested(60),
        {"type": "object", "properties": {"a": {"pattern": r"^[\p{L}\p{N} ._-]+$"}}},
        {"type": "object", "description": r"\0 is no NUL: \u0000"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
    ):
        assert client.tool(str(hash(str(schema))), parameters=schema)["parameters"] == schema


UNFIT_ENDPOINTS: dict[str, tuple[dict[str, Any], str]] = {
    "method": ({"method": "TRACE"}, "method"),
    "http": ({"url": "http://example.com/"}, "url"),
    "file": ({"url": "file:///etc/passwd"}, "url"),
    "no scheme": ({"url": "example.com"}, "url"),
    "no host": ({"url": "https:///v1"}, "url"),
    "user": ({"url": "https://me@example.com/"}, "url"),
    "empty user": ({"url": "https://@example.com/"}, "url"),
    "password": ({"url": "https://:secret@example.com/"}, "url"),
    "host with a placeholder": ({"url": "https://{q}.example.com/"}, "url"),
    "port with a placeholder": ({"url": "https://example.com:{q}/"}, "url"),
    "user with a placeholder": ({"url": "https://{q}@example.com/"}, "url"),
    "port": ({"url": "https://example.com:99999/"}, "url"),
    "brackets": ({"url": "https://[example.com/"}, "url"),
    "fragment": ({"url": "https://example.com/#x"}, "url"),
    "backslash": ({"url": "https://example.com\\@example.org/"}, "url"),
    "backslash in the path": ({"url": "https://example.com/a\\b"}, "url"),
    "brace": ({"url": "https://example.com/{q"}, "url"),
    "secret in the URL": ({"url": "https://example.com/{{secret:key}}"}, "url"),
    "blank": ({"url": "https://example.com/a b"}, "url"),
    "line": ({"url": "https://example.com/\r\nX: y"}, "url"),
    "letters": ({"url": "https://éxample.com/"}, "url"),
    "long": ({"url": "https://example.com/" + "x" * 2000}, "url"),
    "connection": ({"headers": {"Connection": "close"}}, "headers"),
    "host header": ({"headers": {"HOST": "example.org"}}, "headers"),
    "length": ({"headers": {"content-length": "5"}}, "headers"),
    "encoding": ({"headers": {"Transfer-Encoding": "chunked"}}, "headers"),
    "proxy": ({"headers": {"Proxy-Authorization": "x"}}, "headers"),
    "header twice": ({"headers": {"X-A": "1", "x-a": "2"}}, "headers"),
    "no secret": ({"headers": {"X-A": "{{secrets:key}}"}}, "headers"),
    "secret's name": ({"headers": {"X-A": "{{secret:a b}}"}}, "headers"),
    "many headers": ({"headers": {f"X-{n}": "x" for n in range(21)}}, "headers"),
    "header's name": ({"headers": {"X A": "1"}}, "headers.X A.[key]"),
    "header's value": ({"headers": {"X-A": "1\r\nX-B: 2"}}, "headers.X-A"),
    "no time": ({"timeout_seconds": 0}, "timeout_seconds"),
    "much time": ({"timeout_seconds": 61}, "timeout_seconds"),
    "unknown": ({"body": "x"}, "body"),
}


@pytest.mark.parametrize(("unfit", "field"), UNFIT_ENDPOINTS.values(), ids=UNFIT_ENDPOINTS)
def test_an_unfit_endpoint_is_refused_in_both_create_and_update(
    client: Client, unfit: dict[str, Any], field: str
) -> None:
    body = {"endpoint": ENDPOINT | unfit}
    assert refused_fields(client("POST", "/tools", TOOL | body)) == {f"body.endpoint.{field}"}
    tool = client.tool(**DOES)
    refused = client("PUT", f"/tools/{tool['id']}", body)
    assert refused_fields(refused) == {f"body.endpoint.{field}"}
    assert client("GET", f"/tools/{tool['id']}").json == tool


@pytest.fixture
def plain_http(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The setting for local use."""
    with monkeypatch.context() as environment:
        environment.setenv("MAP_PLAIN_HTTP", "true")
        settings.cache_clear()
        yield
    settings.cache_clear()


def test_an_endpoint_may_be_called_over_http_where_the_setting_says_so(
    plain_http: None, client: Client
) -> None:
    endpoint = ENDPOINT | {"url": "http://127.0.0.1:8001/{q}"}
    tool = client.tool(endpoint=endpoint)
    settings.cache_clear()
    assert client("GET", f"/tools/{tool['id']}").json["endpoint"] == endpoint


def test_idempotent_and_requires_approval_are_true_or_false_and_nothing_like_it(
    client: Client,
) -> None:
    for field in ("idempotent", "requires_approval"):
        for unfit in (None, "yes", "true", 1):
            refused = client("POST", "/tools", TOOL | {field: unfit})
            assert refused_fields(refused) == {f"body.{field}"}
