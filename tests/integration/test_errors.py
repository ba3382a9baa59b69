"""Error responses that every room gives, through the Lambda handlers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from mini_agent.data import db
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from tests.conftest import Connection, MakeTenant
from tests.databases import configured
from tests.events import Answer, Context, event, uuid
from tests.integration.client import (
    AGENT,
    KNOWN_USE_HEADERS,
    RUN,
    TOOL,
    Client,
    handler_of,
    refused_fields,
)

ID = str(uuid(1))
JSON = {"Content-Type": "application/json"}
ROUTES = [
    # method, path, a valid body, the required scope, the status for an id that does not exist
    ("POST", "/tools", TOOL, "tools:write", 201),
    ("GET", "/tools", None, "tools:read", 200),
    ("GET", f"/tools/{ID}", None, "tools:read", 404),
    ("PUT", f"/tools/{ID}", TOOL, "tools:write", 404),
    ("DELETE", f"/tools/{ID}", None, "tools:write", 404),
    ("POST", "/agents", AGENT, "agents:write", 201),
    ("GET", "/agents", None, "agents:read", 200),
    ("GET", f"/agents/{ID}", None, "agents:read", 404),
    ("PUT", f"/agents/{ID}", AGENT, "agents:write", 404),
    ("DELETE", f"/agents/{ID}", None, "agents:write", 404),
    ("POST", f"/agents/{ID}/run", RUN, "runs:write", 403),
    ("GET", "/history", None, "history:read", 200),
    ("GET", f"/history/{ID}", None, "history:read", 404),
    ("GET", "/secrets", None, "secrets:read", 200),
    ("DELETE", f"/secrets/{ID}", None, "secrets:write", 404),
]
every_route = pytest.mark.parametrize(
    ("method", "path", "body", "scope", "status"),
    ROUTES,
    ids=[f"{method} {path.replace(ID, 'id')}" for method, path, *_ in ROUTES],
)


def called(caller: Caller | None, method: str, path: str, body: object, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Client(caller)(method, path, body, sent)


# ── Who may do what ──────────────────────────────────────────────────────────────────────────────


@every_route
def test_a_function_that_no_authorizer_has_spoken_to_refuses(
    clean: None, method: str, path: str, body: object, scope: str, status: int
) -> None:
    nobody = called(None, method, path, body)
    assert (nobody.status, nobody.error_code) == (401, "MISSING_API_KEY")
    with_key = called(None, method, path, body, x_api_KEY="tenant-a-key")
    assert (with_key.status, with_key.error_code) == (401, "INVALID_API_KEY")
    assert nobody.json["details"] == with_key.json["details"] == {}


@pytest.mark.parametrize(
    "change",
    [
        {"tenant_id": ""},
        {"tenant_id": "1"},
        {"key_id": None},
        {"scopes": None},
        {"requests_per_minute": "many"},
    ],
    ids=str,
)
def test_an_authorizer_context_that_is_not_ours_counts_as_none(
    tenant: Caller, change: dict[str, Any]
) -> None:
    asked = event("GET", "/api/v1/tools", caller=tenant)
    asked["requestContext"]["authorizer"] |= change
    answer = handler_of("/api/v1/tools")(asked, Context())
    assert answer["statusCode"] == 401
    assert json.loads(answer["body"])["error_code"] == "MISSING_API_KEY"


@every_route
def test_a_route_takes_its_one_scope_and_no_other(
    make_tenant: MakeTenant, method: str, path: str, body: object, scope: str, status: int
) -> None:
    others = tuple(name for name in api_keys.SCOPES if name != scope)
    refused = called(make_tenant(scopes=others), method, path, body)
    assert (refused.status, refused.error_code) == (403, "INSUFFICIENT_SCOPE")
    assert refused.json["details"] == {"required_scope": scope}
    assert called(make_tenant(scopes=(scope,)), method, path, body).status == status


# ── Paths, methods, media types, bodies ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/tools", "GET, POST"),
        (f"/tools/{ID}", "DELETE, GET, PUT"),
        ("/agents", "GET, POST"),
        (f"/agents/{ID}", "DELETE, GET, PUT"),
        (f"/agents/{ID}/run", "POST"),
        ("/history", "GET"),
        (f"/history/{ID}", "GET"),
        ("/secrets", "GET"),
        (f"/secrets/{ID}", "DELETE, PUT"),
        ("/health", "GET"),
        ("/ready", "GET"),
        ("/docs", "GET"),
        ("/docs/swagger-ui.css", "GET"),
        ("/redoc", "GET"),
        ("/openapi.json", "GET"),
    ],
)
def test_another_method_is_not_allowed_and_those_that_are_are_told(
    client: Client, path: str, allowed: str
) -> None:
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "ODD"} - {
        *allowed.split(", ")
    }:
        refused = client(method, path)
        assert (refused.status, refused.error_code) == (405, "METHOD_NOT_ALLOWED")
        assert refused.headers["allow"] == allowed
        assert refused.json["details"] == {}


@pytest.mark.parametrize(
    "path", ["/tools/a/b", f"/agents/{ID}/runs", f"/agents/{ID}/run/x", "/history/a/b", "/", "/doc"]
)
def test_another_path_is_not_found(client: Client, path: str) -> None:
    refused = client("GET", path)
    assert (refused.status, refused.error_code) == (404, "ROUTE_NOT_FOUND")
    assert refused.json["details"] == {}


@pytest.mark.parametrize("path", ["/tools", "/agents", "/history", f"/tools/{ID}"])
def test_a_slash_at_the_end_changes_nothing(client: Client, path: str) -> None:
    plain, slashed = client("GET", path), client("GET", f"{path}/")
    assert (slashed.status, slashed.json) == (plain.status, plain.json)


with_body = [route for route in ROUTES if route[2]]


@pytest.mark.parametrize(("method", "path", "body", "scope", "status"), with_body)
def test_a_body_that_is_not_declared_as_json_is_refused(
    client: Client, method: str, path: str, body: object, scope: str, status: int
) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "", "json", "*/*"):
        refused = client(method, path, json.dumps(body), {"Content-Type": media_type})
        assert (refused.status, refused.error_code) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert refused.json["details"] == {}
    for media_type in ("application/json; charset=utf-8", "Application/JSON"):
        assert client(method, path, json.dumps(body), {"Content-Type": media_type}).status == status
        if status == 201:
            status = 409


@pytest.mark.parametrize(("method", "path", "body", "scope", "status"), with_body)
@pytest.mark.parametrize(
    "hostile",
    [
        "[" * 10_000 + "]" * 10_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        '{"name": ' + "9" * 5000 + "}",
        '{"name": 1e999}',
        '{"name": -Infinity}',
        '{"name": "\\ud800"}',
        '{"\\udfff": 1}',
        "{" + "\0" * 10,
    ],
    ids=["deep list", "deep object", "digits", "huge", "infinity", "half", "half name", "nul"],
)
def test_json_that_defeats_parsers_is_refused(
    client: Client, method: str, path: str, body: object, scope: str, status: int, hostile: str
) -> None:
    assert all(
        field.startswith("body") for field in refused_fields(client(method, path, hostile, JSON))
    )


# ── The rate limit ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("POST", "/tools", {"name": 7}, JSON),
        ("POST", "/tools", "{", JSON),
        ("POST", "/tools", TOOL, {"Content-Type": "text/plain"}),
        ("GET", "/tools?limit=abc", None, {}),
        ("GET", "/tools/abc", None, {}),
        ("GET", "/tools/a/b", None, {}),
        ("PATCH", "/tools", None, {}),
        ("POST", f"/agents/{ID}/run", RUN | {"model": "gpt-5"}, {}),
    ],
)
def test_the_limiter_comes_before_anything_else_about_a_request(
    make_tenant: MakeTenant, method: str, path: str, body: object, headers: dict[str, str]
) -> None:
    client = Client(make_tenant(requests_per_minute=1, scopes=("history:read",)))
    assert client("GET", "/history").status == 200
    refused = client(method, path, body, headers)
    assert (refused.status, refused.error_code) == (429, "RATE_LIMIT_EXCEEDED")
    wait = int(refused.headers["retry-after"])
    assert 1 <= wait <= 60
    assert refused.json["details"] == {
        "limit": 1,
        "window_seconds": 60,
        "retry_after_seconds": wait,
    }
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.headers.keys() >= KNOWN_USE_HEADERS


def test_every_authenticated_answer_tells_the_limit_and_what_is_left_of_it(
    make_tenant: MakeTenant, admin: Connection
) -> None:
    client = Client(make_tenant(requests_per_minute=100))
    tool = client.tool()
    client.agent(tool_ids=[tool["id"]])
    with unreadable_tools(admin):
        broken = client("GET", "/tools")
    answers = [
        client("GET", "/tools"),
        client("DELETE", f"/tools/{ID}"),
        client("POST", "/tools", TOOL),
        client("DELETE", f"/tools/{tool['id']}"),
        client("POST", "/tools", {}),
        client("POST", "/tools", TOOL, {"Content-Type": "text/plain"}),
        client("PATCH", "/tools"),
        client("GET", "/tools/a/b"),
        client("POST", f"/agents/{ID}/run", RUN),
    ]
    admin.execute("update app.api_keys set revoked_at = now()")
    answers = [broken, *answers, client("GET", "/tools")]
    assert [answer.status for answer in answers] == [
        *(500, 200, 404, 409, 409, 422, 415, 405, 404, 403, 401),
    ]
    for used, answer in enumerate(answers, start=3):
        assert answer.headers["x-ratelimit-limit"] == "100"
        assert answer.headers["x-ratelimit-window"] == "60"
        assert answer.headers["x-ratelimit-remaining"] == str(100 - used)
        assert answer.headers["ratelimit-policy"] == '"default";q=100;w=60'
        assert answer.headers["ratelimit"].startswith(f'"default";r={100 - used};t=')


# ── What goes wrong on our side ──────────────────────────────────────────────────────────────────


@contextmanager
def unreadable_tools(admin: Connection) -> Iterator[None]:
    """Cause an error that no code expects."""
    admin.execute("revoke select on app.tools from map_api")
    try:
        yield
    finally:
        admin.execute("grant select on app.tools to map_api")


def test_an_unexpected_exception_tells_the_client_its_request_id_and_the_log_the_cause(
    client: Client, admin: Connection, log: StringIO
) -> None:
    with unreadable_tools(admin):
        answer = client("GET", "/tools")
    request_id = answer.headers["x-request-id"]
    assert (answer.status, answer.json) == (
        500,
        {
            "error_code": "INTERNAL_SERVER_ERROR",
            "message": "Something went wrong on our side; quote the request id",
            "details": {"request_id": request_id},
        },
    )
    logged = json.loads(log.getvalue())
    assert logged["request_id"] == request_id
    assert client.caller
    assert logged["tenant_id"] == str(client.caller.tenant_id)
    assert logged["key_id"] == str(client.caller.key_id)
    assert "permission denied" in logged["exception"]
    assert client("GET", "/tools").status == 200


@pytest.mark.parametrize(("path", "body"), [("/tools", TOOL), ("/agents", AGENT)])
def test_a_commit_that_fails_is_never_answered_as_a_success(
    client: Client, admin: Connection, path: str, body: dict[str, Any]
) -> None:
    table = path.removeprefix("/")
    admin.execute(
        "create function app.refuse() returns trigger language plpgsql"
        " as $$ begin raise exception 'no commit'; end $$"
    )
    admin.execute(
        f"create constraint trigger refuse after insert or update on app.{table}"
        " initially deferred for each row execute function app.refuse()"
    )
    try:
        answer = client("POST", path, body)
    finally:
        admin.execute("drop function app.refuse cascade")
    assert (answer.status, answer.error_code) == (500, "INTERNAL_SERVER_ERROR")
    assert client("GET", path).json["items"] == []
    assert client("POST", path, body).status == 201


@pytest.mark.parametrize("limit", ["statement_timeout", "lock_timeout"])
@pytest.mark.parametrize(
    ("method", "path", "body"), [("GET", "/tools", None), ("POST", "/tools", TOOL)]
)
def test_a_database_that_takes_too_long_is_a_deadline_exceeded_and_its_connection_goes_on(
    client: Client, admin: Connection, limit: str, method: str, path: str, body: object
) -> None:
    admin.execute(f"alter role map_api in database map set {limit} = '50ms'")
    try:
        with configured():
            with admin.transaction():
                admin.execute("lock table app.tools in access exclusive mode")
                answer = client(method, path, body)
            slow = db._connection
            assert client("GET", "/tools").json["items"] == []
            assert db._connection is slow
    finally:
        admin.execute(f"alter role map_api in database map reset {limit}")
    assert (answer.status, answer.error_code) == (504, "DEADLINE_EXCEEDED")
    assert answer.json["details"] == {}


def test_the_database_gives_up_before_the_function_does(admin: Connection) -> None:
    row = admin.execute("select rolconfig from pg_roles where rolname = 'map_api'").fetchone()
    assert row
    assert {"statement_timeout=5s", "lock_timeout=4s"} <= {*row[0]}  # of the function's 10


@every_route
def test_without_a_database_every_route_asks_to_be_tried_again(
    tmp_path: Path,
    client: Client,
    method: str,
    path: str,
    body: object,
    scope: str,
    status: int,
) -> None:
    with configured(database_host=str(tmp_path)):
        answer = client(method, path, body)
    assert (answer.status, answer.error_code) == (503, "SERVICE_UNAVAILABLE")
    assert answer.json["details"] == {"reason": "database"}
    assert int(answer.headers["retry-after"]) > 0
    assert client(method, path, body).status == status


def test_a_connection_that_was_lost_meanwhile_is_not_the_clients_problem(
    client: Client, admin: Connection
) -> None:
    for method, path, body in (("GET", "/tools", None), ("POST", "/tools", TOOL)):
        client("GET", "/tools")
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'map_api'"
        )
        assert client(method, path, body).status < 300


def test_without_the_limiter_runs_ask_to_be_tried_again_and_the_catalogue_goes_on(
    tmp_path: Path, client: Client
) -> None:
    with configured(redis_url=f"unix://{tmp_path}/none"):
        run = client("POST", f"/agents/{ID}/run", RUN)
        assert client("GET", "/tools").status == 200
    assert (run.status, run.error_code) == (503, "SERVICE_UNAVAILABLE")
    assert run.json["details"] == {"reason": "rate_limiter"}
    assert int(run.headers["retry-after"]) > 0


def test_the_answer_carries_the_request_id_of_api_gateway(clean: None) -> None:
    asked = event("GET", "/health")
    asked["requestContext"]["requestId"] = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"
    answer = handler_of("/health")(asked, Context())
    assert answer["headers"]["x-request-id"] == "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"
