"""Refused requests and refused keys are in the audit log, 20 a tenant and minute."""

import json
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest

from functions.authorizer.app import handler as authorizer
from local import backends
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from tests.conftest import MakeTenant
from tests.databases import Connection, configured, connect
from tests.events import Context, event, uuid
from tests.integration.actors import ADDRESS
from tests.integration.client import AGENT, RUN, Client
from tests.waiting import until

REFUSALS: dict[str, tuple[str, str, Any, str, dict[str, Any]]] = {
    "run": (
        "POST",
        "/agents/{id}/run",
        RUN,
        "POST /api/v1/agents/{agent_id}/run",
        {
            "error_code": "TENANT_ISOLATION_VIOLATION",
            "resource_type": "agent",
            "resource_id": "{id}",
        },
    ),
    "new agent": (
        "POST",
        "/agents",
        AGENT | {"tool_ids": ["{id}"]},
        "POST /api/v1/agents",
        {"error_code": "CROSS_TENANT_TOOL", "tool_ids": ["{id}"]},
    ),
    "agent": (
        "PUT",
        "/agents/{own}",
        {"tool_ids": ["{id}"]},
        "PUT /api/v1/agents/{agent_id}",
        {"error_code": "CROSS_TENANT_TOOL", "tool_ids": ["{id}"]},
    ),
}


def filled(template: Any, **values: str) -> Any:
    """Return JSON with `{name}` in its texts filled in."""
    text = json.dumps(template)
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return json.loads(text)


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "key"}], ids=["", "with a key"])
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_attempt_is_noted_alike_for_what_is_anothers_and_what_is_nobodys(
    client: Client, other: Client, tenant: Caller, name: str, headers: dict[str, str]
) -> None:
    method, path, body, route, asked = REFUSALS[name]
    own = client.agent("own")["id"]
    theirs = other.agent()["id"] if name == "run" else other.tool()["id"]
    told = []
    for number, thing in enumerate((theirs, str(uuid4()))):
        keyed = {key: f"{value} {number}".replace(" ", "-") for key, value in headers.items()}
        at, sent = filled(path, id=thing, own=own), filled(body, id=thing)
        answer = client(method, at, sent, keyed if method == "POST" else {})
        assert answer.status == 403
        [entry] = client("GET", "/audit?action=access.refused&limit=1").json["items"]
        assert entry["request_id"] == answer.headers["x-request-id"]
        assert (entry["actor"], entry["key_id"]) == ("key", str(tenant.key_id))
        assert (entry["address"], entry["before"]) == (ADDRESS, None)
        assert (entry["target_type"], entry["target_id"]) == ("route", route)
        assert entry["after"] == filled(asked, id=thing)
        told.append(answer.text.replace(thing, "…"))
    assert told[0] == told[1]
    assert client("GET", "/audit?include_total=true").json["total"] == 3
    total = other("GET", "/audit?include_total=true&action=access.refused").json["total"]
    assert total == 0, "nobody else is told"


def test_a_scope_that_a_key_lacks_is_noted(make_tenant: MakeTenant, admin: Connection) -> None:
    caller = make_tenant(scopes=("tools:read",))
    assert Client(caller)("DELETE", f"/tools/{uuid(1)}").error_code == "INSUFFICIENT_SCOPE"
    [row] = admin.execute(
        "select tenant_id, key_id, action, target_id, after from app.audit_log"
    ).fetchall()
    assert row == (
        *(caller.tenant_id, caller.key_id, "access.refused", "DELETE /api/v1/tools/{tool_id}"),
        {"error_code": "INSUFFICIENT_SCOPE", "required_scope": "tools:write"},
    )


def test_what_is_not_found_not_valid_or_too_much_is_not_noted(
    client: Client, make_tenant: MakeTenant, admin: Connection
) -> None:
    for method, path, body, status in (
        ("GET", f"/tools/{uuid(1)}", None, 404),
        ("DELETE", f"/agents/{uuid(1)}", None, 404),
        ("GET", f"/history/{uuid(1)}", None, 404),
        ("GET", "/tools/x", None, 422),
        ("GET", "/tools/x/y", None, 404),
        ("PATCH", "/tools", None, 405),
    ):
        assert client(method, path, body).status == status
    assert Client()("GET", "/tools").status == 401
    slow = Client(make_tenant(requests_per_minute=1))
    assert [slow("GET", "/tools").status for _ in range(2)] == [200, 429]
    assert admin.execute("select from app.audit_log").rowcount == 0


def test_a_refusal_that_cannot_be_noted_is_the_same_refusal(
    client: Client, admin: Connection, log: StringIO
) -> None:
    asked = ("POST", f"/agents/{uuid(1)}/run", RUN)
    noted = client(*asked)
    signature = "app.log_refusal(uuid, text, text, text, jsonb)"
    admin.execute(f"revoke execute on function {signature} from map_api".encode())
    try:
        answer = client(*asked)
    finally:
        admin.execute(f"grant execute on function {signature} to map_api".encode())
    assert (answer.status, answer.text) == (noted.status, noted.text)
    assert "a refusal was not recorded" in log.getvalue()
    assert admin.execute("select from app.audit_log").rowcount == 1


def refusals(admin: Connection) -> int:
    return admin.execute(
        "select from app.audit_log where action in ('access.refused', 'key.refused')"
    ).rowcount


def test_of_100_refusals_in_a_minute_20_are_noted_and_then_again(
    client: Client, other: Client, admin: Connection
) -> None:
    for _ in range(100):
        assert client("POST", f"/agents/{uuid(1)}/run", RUN).status == 403
    assert refusals(admin) == 20
    client.tool()
    assert client("GET", "/audit?action=tool.created").json["items"], (
        "changes are told for all that"
    )
    assert other("POST", f"/agents/{uuid(1)}/run", RUN).status == 403
    assert refusals(admin) == 21, "each tenant has its own 20"
    admin.execute("update app.audit_log set created_at = created_at - interval '1 minute'")
    assert client("POST", f"/agents/{uuid(1)}/run", RUN).status == 403
    assert refusals(admin) == 22


def test_20_are_noted_however_many_try_at_once(
    tenant: Caller, postgres: backends.Server, admin: Connection
) -> None:
    """Of 100 by four, of whom one has not committed yet when the others count."""

    def attempt(conn: Connection) -> None:
        conn.execute("select app.enter_tenant(%s, %s)", (tenant.tenant_id, tenant.key_id))
        conn.execute(
            "select app.log_refusal(%s, 'access.refused', 'route', 'r', '{}')",
            (tenant.tenant_id,),
        )

    def attempt_33_times() -> None:
        with connect(postgres, "map_api") as conn:
            for _ in range(33):
                with conn.transaction():
                    attempt(conn)

    with ThreadPoolExecutor(3) as pool, connect(postgres, "map_api") as slow:
        with slow.transaction():
            attempt(slow)
            others = [pool.submit(attempt_33_times) for _ in range(3)]
            waiting_ = "select from pg_locks where locktype = 'advisory' and not granted"
            until(lambda: admin.execute(waiting_).rowcount == 3 or all(o.done() for o in others))
        for other in others:
            other.result()
    assert refusals(admin) == 20


# ── Keys that are refused ────────────────────────────────────────────────────────────────────────

KEY = api_keys.generate()


def send(key: str) -> dict[str, Any]:
    """Return the authorizer's answer to a key."""
    arn = "arn:aws:execute-api:eu-west-1:000000000000:api-id/live/GET/api/v1/tools"
    asked = event("GET", "/api/v1/tools", headers={"X-API-KEY": key})
    with configured(database_user="map_authorizer"):
        answer: dict[str, Any] = authorizer(asked | {"methodArn": arn}, Context())
        return answer


def effect(answer: dict[str, Any]) -> str:
    return str(answer["policyDocument"]["Statement"][0]["Effect"])


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("update app.api_keys set revoked_at = now()", "revoked"),
        ("update app.api_keys set expires_at = now() - interval '1 second'", "expired"),
        ("update app.tenants set status = 'suspended'", "tenant suspended"),
        ("update app.tenants set status = 'deleted', delete_after = now()", "tenant deleted"),
    ],
)
def test_a_key_that_has_ended_is_noted_when_it_is_sent(
    make_tenant: MakeTenant, admin: Connection, ending: str, reason: str
) -> None:
    caller = make_tenant(key=KEY)
    assert effect(send(KEY)) == "Allow"
    assert refusals(admin) == 0
    admin.execute(ending.encode())
    assert effect(send(KEY)) == "Deny"
    [row] = admin.execute(
        "select tenant_id, actor, key_id, address, action, target_type, target_id, before, after"
        " from app.audit_log where request_id like 'request-%'"
    ).fetchall()
    assert row == (
        *(caller.tenant_id, "platform", None, ADDRESS),
        *("key.refused", "key", str(caller.key_id), None, {"reason": reason}),
    )


def test_a_key_that_never_was_is_not_noted_nor_is_one_of_a_demo(
    make_tenant: MakeTenant, admin: Connection
) -> None:
    make_tenant(key=KEY)
    make_tenant(key="tenant-a-key")
    admin.execute("update app.tenants set status = 'suspended'")
    with configured(profile="local"):
        for key in (api_keys.generate(), "tenant-a-key", f"{KEY}x"):
            assert effect(send(key)) == "Deny"
    assert refusals(admin) == 0


def test_a_key_that_is_good_again_by_then_is_not_noted(
    make_tenant: MakeTenant, postgres: backends.Server, admin: Connection
) -> None:
    make_tenant(key=KEY)
    with connect(postgres, "map_authorizer") as conn:
        digests = admin.execute("select array_agg(digest) from app.api_keys").fetchone()
        conn.execute("select app.log_refused_key(%s, '', '')", digests)
    assert refusals(admin) == 0


def test_refused_keys_count_among_the_20(make_tenant: MakeTenant, admin: Connection) -> None:
    make_tenant(key=KEY)
    admin.execute("update app.api_keys set revoked_at = now()")
    for _ in range(25):
        assert effect(send(KEY)) == "Deny"
    assert refusals(admin) == 20


def test_a_refused_key_that_cannot_be_noted_is_refused_all_the_same(
    make_tenant: MakeTenant, admin: Connection, log: StringIO
) -> None:
    make_tenant(key=KEY)
    admin.execute("update app.api_keys set revoked_at = now()")
    signature = "app.log_refused_key(bytea[], text, text)"
    admin.execute(f"revoke execute on function {signature} from map_authorizer".encode())
    try:
        assert effect(send(KEY)) == "Deny"
    finally:
        admin.execute(f"grant execute on function {signature} to map_authorizer".encode())
    assert "a refused key was not recorded" in log.getvalue()
    assert KEY not in log.getvalue()
    assert refusals(admin) == 0
