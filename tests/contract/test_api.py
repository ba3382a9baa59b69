"""Every endpoint over HTTP, with the two keys of the local profile: each success and each refusal.

One row is one promise. What a function does with each body, query and scope is shown with its
handler, in integration/; here is what HTTP, the gateway and the authorizer add. What stopped
servers bring about (503) is in test_faults.py, a body that is too large in test_hostile.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from tests.contract.client import HttpClient
from tests.contract.conftest import KEY_A, KEY_B, LocalStack
from tests.contract.tenants import add_tenant, admin
from tests.events import Answer
from tests.integration.client import AGENT, KNOWN_USE_HEADERS, LIMIT_HEADERS, RUN, TOOL
from tests.unit.test_errors import CONTRACT

RANDOM = str(uuid4())


@dataclass(frozen=True)
class Tenants:
    """What two tenants have; `ids` by the names that the rows use."""

    a: HttpClient
    b: HttpClient
    nobody: HttpClient
    ids: dict[str, str]


@pytest.fixture(scope="module")
def tenants(local_stack: LocalStack) -> Iterator[Tenants]:
    clients = [HttpClient(local_stack.url, key) for key in (KEY_A, KEY_B, None)]
    a, b, nobody = clients
    ids = {"random": RANDOM}
    for prefix, client in (("", a), ("foreign_", b)):
        tool = client.tool(f"{prefix}tool")
        agent = client.agent(f"{prefix}agent", tool_ids=[tool["id"]])
        run = client.run(agent)
        ids |= {
            f"{prefix}tool": tool["id"],
            f"{prefix}agent": agent["id"],
            f"{prefix}run": run["execution_id"],
        }
    ids |= {"spare_tool": a.tool("spare")["id"], "spare_agent": a.agent("spare")["id"]}
    yield Tenants(a, b, nobody, ids)
    for client in clients:
        client.http.close()
    with admin(local_stack) as conn:
        for table in ("executions", "agent_tools", "agents", "tools"):
            conn.execute(
                f"delete from app.{table} where tenant_id in"
                " ('11111111-1111-1111-1111-111111111111', '22222222-2222-2222-2222-222222222222')"
            )


@pytest.fixture(autouse=True)
def quota(local_stack: LocalStack) -> None:
    """A full minute's requests for everyone."""
    with Redis(unix_socket_path=local_stack.redis_socket) as redis:
        redis.flushall()


@dataclass(frozen=True)
class Row:
    """A request, and what it is answered: a status, or an error of the contract's table."""

    method: str
    path: str
    body: object
    status: int
    code: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.code or self.status}"


def filled(value: Any, ids: dict[str, str]) -> Any:
    """Return a value with `<name>` in its texts replaced by the id of this name."""
    if isinstance(value, dict):
        return {name: filled(part, ids) for name, part in value.items()}
    if isinstance(value, list):
        return [filled(part, ids) for part in value]
    if isinstance(value, str):
        for name, id_ in ids.items():
            value = value.replace(f"<{name}>", id_)
    return value


def send(client: HttpClient, row: Row, tenants: Tenants) -> Answer:
    path, body = filled(row.path, tenants.ids), filled(row.body, tenants.ids)
    return client(row.method, path, body, row.headers)


SUCCESSES = [
    Row("GET", "/health", None, 200),
    Row("GET", "/ready", None, 200),
    Row("GET", "/docs", None, 200),
    Row("GET", "/docs/swagger-ui.css", None, 200),
    Row("GET", "/docs/swagger-ui-bundle.js", None, 200),
    Row("GET", "/docs/redoc.standalone.js", None, 200),
    Row("GET", "/redoc", None, 200),
    Row("GET", "/openapi.json", None, 200),
    Row("POST", "/tools", TOOL | {"name": "new"}, 201),
    Row("GET", "/tools", None, 200),
    Row("GET", "/tools?name=tool&agent_name=agent&limit=1&include_total=true", None, 200),
    Row("GET", "/tools/<tool>", None, 200),
    Row("PUT", "/tools/<tool>", {"description": "changed"}, 200),
    Row("DELETE", "/tools/<spare_tool>", None, 204),
    Row("POST", "/agents", AGENT | {"name": "new", "tool_ids": ["<tool>", "<tool>"]}, 201),
    Row("GET", "/agents", None, 200),
    Row("GET", "/agents?name=agent&role=researcher&tool_name=tool&offset=0", None, 200),
    Row("GET", "/agents/<agent>", None, 200),
    Row("PUT", "/agents/<agent>", {"description": "changed", "tool_ids": ["<tool>"]}, 200),
    Row("DELETE", "/agents/<spare_agent>", None, 204),
    Row("POST", "/agents/<agent>/run", RUN, 200),
    Row("GET", "/history", None, 200),
    Row("GET", "/history?agent_id=<agent>&model=gpt-4o&status=completed", None, 200),
    Row("GET", "/history?created_after=2024-01-15T10:30:00Z", None, 200),
    Row("GET", "/history/<run>", None, 200),
]

ERRORS = [
    # A path with an id that the tenant does not have, foreign or not, and one that is no id.
    *(
        Row(method, f"/{room}/<{which}>", {"description": "x"} if method == "PUT" else None,
            404, code, {name: f"<{which}>"})
        for room, methods, kind, code, name in (
            ("tools", ("GET", "PUT", "DELETE"), "tool", "TOOL_NOT_FOUND", "tool_id"),
            ("agents", ("GET", "PUT", "DELETE"), "agent", "AGENT_NOT_FOUND", "agent_id"),
            ("history", ("GET",), "run", "EXECUTION_NOT_FOUND", "execution_id"),
        )
        for method in methods
        for which in (f"foreign_{kind}", "random")
    ),
    *(
        Row(method, f"/{path}", body, 422, "VALIDATION_ERROR")
        for method, path, body in (
            ("GET", "tools/x", None),
            ("PUT", "tools/x", {}),
            ("DELETE", "tools/x", None),
            ("GET", "agents/x", None),
            ("PUT", "agents/x", {}),
            ("DELETE", "agents/x", None),
            ("POST", "agents/x/run", RUN),
            ("GET", "history/x", None),
        )
    ),
    *(
        Row("POST", f"/agents/<{which}>/run", RUN, 403, "TENANT_ISOLATION_VIOLATION",
            {"resource_type": "agent", "resource_id": f"<{which}>"})
        for which in ("foreign_agent", "random")
    ),
    *(
        Row(method, path, AGENT | {"name": "thief", "tool_ids": ["<tool>", f"<{which}>"]},
            403, "CROSS_TENANT_TOOL", {"tool_ids": [f"<{which}>"]})
        for method, path in (("POST", "/agents"), ("PUT", "/agents/<agent>"))
        for which in ("foreign_tool", "random")
    ),
    Row("POST", "/tools", TOOL | {"name": "tool"}, 409, "DUPLICATE_TOOL_NAME", {"name": "tool"}),
    Row("PUT", "/tools/<tool>", {"name": "new"}, 409, "DUPLICATE_TOOL_NAME", {"name": "new"}),
    Row("POST", "/agents", AGENT | {"name": "agent"}, 409, "DUPLICATE_AGENT_NAME",
        {"name": "agent"}),
    Row("PUT", "/agents/<agent>", {"name": "new"}, 409, "DUPLICATE_AGENT_NAME", {"name": "new"}),
    Row("POST", "/agents/<agent>/run", RUN | {"model": "gpt-5"}, 422, "UNSUPPORTED_MODEL",
        {"model": "gpt-5", "supported_models":
         ["gpt-4o", "gpt-4", "gpt-3.5-turbo", "claude-3-opus", "claude-3-sonnet", "gpt-5.1",
          "gpt-5-mini", "claude-sonnet-5-5", "claude-haiku-4-5", "nova-pro", "nova-lite"]}),
    # A body that is no JSON, or not the one that is asked for.
    *(
        Row("POST", "/tools", body, status, code, headers={"Content-Type": media_type})
        for body, media_type, status, code in (
            ("{}", "text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("a=b", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("<a/>", "application/xml", 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("{", "application/json", 422, "VALIDATION_ERROR"),
            ("[]", "application/json", 422, "VALIDATION_ERROR"),
            ("null", "application/json", 422, "VALIDATION_ERROR"),
            ('{"x": 1}', "application/json", 422, "VALIDATION_ERROR"),
            ('{"name": null, "prompt": null}', "application/json", 422, "VALIDATION_ERROR"),
            ("", "application/json", 422, "VALIDATION_ERROR"),
        )
    ),
    Row("POST", "/executions/<run>/cancel", None, 409, "EXECUTION_ALREADY_FINISHED",
        {"execution_id": "<run>", "status": "completed"}),
    Row("DELETE", "/secrets/none", None, 404, "SECRET_NOT_FOUND", {"name": "none"}),
    Row("GET", "/history?status=done", None, 422, "VALIDATION_ERROR"),
    Row("GET", "/history?created_after=2024-01-15", None, 422, "VALIDATION_ERROR"),
    # A path or a method that is not there, known to the gateway or to the function only.
    *(
        Row("GET", path, None, 404, "ROUTE_NOT_FOUND")
        for path in ("/", "/api", "/api/v1", "/api/v2/tools", "/tools/<tool>/x", "/docs/x", "/x")
    ),
    *(
        Row(method, path, None, 405, "METHOD_NOT_ALLOWED")
        for method in ("OPTIONS", "TRACE")
        for path in ("/tools/<tool>", "/docs")
    ),
]  # fmt: skip


@pytest.mark.parametrize("row", SUCCESSES, ids=str)
def test_success(tenants: Tenants, row: Row) -> None:
    answer = send(tenants.a, row, tenants)
    assert answer.status == row.status, answer.text
    assert (row.status == 204) == (answer.text == "")
    if row.status == 201:
        made = tenants.a("GET", answer.headers["location"].removeprefix("/live"))
        assert (made.status, made.json) == (200, answer.json)


@pytest.mark.parametrize("row", ERRORS, ids=str)
def test_refusal(tenants: Tenants, row: Row) -> None:
    answer = send(tenants.a, row, tenants)
    assert (answer.status, answer.error_code) == (row.status, row.code), answer.text
    if row.code == "VALIDATION_ERROR":
        assert answer.json["details"].keys() == {"errors"}
        assert answer.json["details"]["errors"]
    else:
        assert answer.json["details"] == filled(row.details, tenants.ids)
    assert ("allow" in answer.headers) == (row.status == 405)


def test_a_tool_in_use_names_its_users(tenants: Tenants) -> None:
    tool = tenants.a.tool("in use")
    agent = tenants.a.agent("user", tool_ids=[tool["id"]])
    refused = tenants.a("DELETE", f"/tools/{tool['id']}")
    assert (refused.status, refused.error_code) == (409, "TOOL_IN_USE")
    assert refused.json["details"] == {"dependent_agents": [{"id": agent["id"], "name": "user"}]}


def test_a_page_leads_to_the_next_until_the_last(tenants: Tenants) -> None:
    everything = tenants.a("GET", "/tools?limit=100").json
    assert (everything["has_more"], everything["next_cursor"]) == (False, None)
    assert len(everything["items"]) > 1
    cursor = ""
    for item in everything["items"]:
        page = tenants.a("GET", f"/tools?limit=1{cursor}").json
        assert page["items"] == [item]
        cursor = f"&cursor={page['next_cursor']}"
    assert (page["has_more"], page["next_cursor"]) == (False, None)


PROTECTED = [row for row in SUCCESSES if row.path.startswith(("/tools", "/agents", "/history"))]


@pytest.mark.parametrize("row", PROTECTED, ids=str)
def test_every_route_asks_for_a_key_before_anything_else(tenants: Tenants, row: Row) -> None:
    missing = send(tenants.nobody, row, tenants)
    assert (missing.status, missing.error_code) == (401, "MISSING_API_KEY")
    for key in ("wrong", f"{KEY_A}x", f"{KEY_A}, {KEY_B}", "map_live_" + "0" * 38):
        invalid = tenants.nobody(row.method, row.path, None, {"X-API-KEY": key})
        assert (invalid.status, invalid.error_code) == (401, "INVALID_API_KEY")
        assert invalid.json["details"] == {}


def test_the_key_may_be_sent_under_the_header_s_name_in_any_case(tenants: Tenants) -> None:
    for name in ("x-api-key", "X-Api-Key", "X-API-KEY"):
        assert tenants.nobody("GET", "/tools", None, {name: KEY_A}).status == 200


def test_a_key_without_the_scope_is_told_which_it_lacks(tenants: Tenants, narrow_key: str) -> None:
    for method, path, body, scope in (
        ("GET", "/tools", None, "tools:read"),
        ("POST", f"/agents/{tenants.ids['agent']}/run", RUN, "runs:write"),
    ):
        refused = tenants.nobody(method, path, body, {"X-API-KEY": narrow_key})
        assert (refused.status, refused.error_code) == (403, "INSUFFICIENT_SCOPE")
        assert refused.json["details"] == {"required_scope": scope}


@pytest.fixture(scope="module")
def narrow_key(local_stack: LocalStack) -> str:
    """A key that may do nothing."""
    [key] = add_tenant(local_stack, scopes=())
    return key


def test_every_authenticated_answer_tells_the_limit(tenants: Tenants) -> None:
    for used, row in enumerate([*PROTECTED[1:3], ERRORS[0]], start=1):
        answer = send(tenants.b, row, tenants)
        assert answer.headers.keys() >= LIMIT_HEADERS | KNOWN_USE_HEADERS
        assert answer.headers["x-ratelimit-limit"] == "100"
        assert answer.headers["x-ratelimit-remaining"] == str(100 - used)


def test_over_the_limit_a_request_is_told_when_to_come_back(
    tenants: Tenants, local_stack: LocalStack
) -> None:
    [key] = add_tenant(local_stack, requests_per_minute=2)
    client = HttpClient(local_stack.url, key)
    assert [client("GET", "/tools").status for _ in range(2)] == [200, 200]
    for method, path, body in (
        ("GET", "/tools", None),
        ("GET", "/agents", None),
        ("GET", "/history", None),
        ("POST", "/agents/x/run", None),
        ("POST", "/tools", {"not": "valid"}),
    ):
        refused = client(method, path, body)
        assert (refused.status, refused.error_code) == (429, "RATE_LIMIT_EXCEEDED")
        wait = int(refused.headers["retry-after"])
        assert 1 <= wait <= 60
        assert refused.json["details"] == {
            "limit": 2,
            "window_seconds": 60,
            "retry_after_seconds": wait,
        }
    client.http.close()
    assert tenants.a("GET", "/tools").status == 200


def test_a_fault_of_ours_is_told_by_its_request_id_alone(
    tenants: Tenants, local_stack: LocalStack
) -> None:
    with admin(local_stack) as conn:
        conn.execute("revoke select on app.tools from map_api")
    try:
        answer = tenants.a("GET", "/tools")
    finally:
        with admin(local_stack) as conn:
            conn.execute("grant select on app.tools to map_api")
    assert (answer.status, answer.error_code) == (500, "INTERNAL_SERVER_ERROR")
    assert answer.json["details"] == {"request_id": answer.headers["x-request-id"]}


def test_a_query_that_waits_too_long_is_given_up(local_stack: LocalStack, tenants: Tenants) -> None:
    with admin(local_stack) as conn:
        conn.execute("lock table app.tools in access exclusive mode")
        answer = tenants.a("GET", "/tools")
    assert (answer.status, answer.error_code) == (504, "DEADLINE_EXCEEDED")
    assert tenants.a("GET", "/tools").status == 200


def test_every_error_of_the_contract_is_shown_here_or_where_this_says() -> None:
    here = {(row.status, row.code) for row in ERRORS} | {
        (401, "MISSING_API_KEY"),
        (401, "INVALID_API_KEY"),
        (403, "INSUFFICIENT_SCOPE"),
        (409, "TOOL_IN_USE"),
        (429, "RATE_LIMIT_EXCEEDED"),
        (500, "INTERNAL_SERVER_ERROR"),
        (504, "DEADLINE_EXCEEDED"),
    }
    assert set(CONTRACT) - here == {
        (413, "PAYLOAD_TOO_LARGE"),  # test_hostile.py
        (404, "STEP_NOT_FOUND"),  # integration/test_run_approvals.py
        (422, "IDEMPOTENCY_KEY_REUSED"),  # integration/test_idempotency.py
        (409, "APPROVAL_CLOSED"),  # integration/test_run_approvals.py
        (502, "MODEL_PROVIDER_FAILED"),  # integration/test_run_loop.py
        (409, "IDEMPOTENCY_KEY_IN_USE"),  # integration/test_run_replays.py
        (503, "SERVICE_UNAVAILABLE"),  # test_faults.py
        (402, "BUDGET_EXCEEDED"),  # integration/test_budgets.py
        (404, "KEY_NOT_FOUND"),  # integration/test_key_rotation.py
        (404, "TENANT_NOT_FOUND"),  # integration/test_admin_tenants.py
        (409, "TENANT_DELETED"),  # integration/test_admin_status.py
        (409, "TENANT_PROTECTED"),  # integration/test_admin_status.py
        (429, "TOO_MANY_RUNS"),  # integration/test_run_limits.py
    }
