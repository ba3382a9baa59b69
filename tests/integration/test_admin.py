"""What operators do with tenants, and that nobody else does."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from local import backends
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller, Operator
from scripts import openapi
from tests.conftest import Connection, MakeTenant
from tests.databases import connect
from tests.events import Answer, uuid
from tests.integration.client import Client, identified, ids, refused_fields

TENANTS = "/admin/tenants"
NO_LIMITS = {
    "requests_per_minute": 100,
    "runs_per_minute": None,
    "concurrent_runs": None,
    "tokens_per_day": None,
    "spend_per_month_usd": None,
}
LIMITS = {
    "requests_per_minute": 7,
    "runs_per_minute": 6,
    "concurrent_runs": 5,
    "tokens_per_day": 4_000_000_000,
    "spend_per_month_usd": 3.25,
}


def client_of(key: str) -> Client:
    [caller] = identified(key)
    assert caller
    return Client(caller)


def path_of(tenant: Caller) -> str:
    return f"{TENANTS}/{tenant.tenant_id}"


def refused(answer: Answer) -> tuple[int, str, dict[str, Any]]:
    return answer.status, answer.error_code, answer.json["details"]


def unauthorized(answer: Answer) -> bool:
    return (answer.status, answer.error_code) == (401, "INVALID_API_KEY")


# ── New tenants ──────────────────────────────────────────────────────────────────────────────────


def test_a_new_tenant_comes_with_a_key_that_may_do_all_that_tenants_can(
    operating: Client, admin: Connection
) -> None:
    made = operating("POST", TENANTS, {"name": " Acme "})
    assert made.status == 201
    tenant = made.json
    key, key_id, expires_at = (tenant.pop(name) for name in ("key", "key_id", "key_expires_at"))
    left = datetime.fromisoformat(expires_at) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)
    assert tenant == {
        "id": tenant["id"],
        "name": "Acme",
        "status": "active",
        "limits": NO_LIMITS,
        "retention_days": None,
        "created_at": tenant["created_at"],
        "delete_after": None,
    }
    assert made.headers["location"] == f"/live/api/v1{TENANTS}/{tenant['id']}"
    assert operating("GET", f"{TENANTS}/{tenant['id']}").json == tenant

    [caller] = identified(key)
    assert caller
    assert (str(caller.tenant_id), str(caller.key_id)) == (tenant["id"], key_id)
    assert caller.scopes == {*api_keys.SCOPES}
    Client(caller).tool()
    [kept] = admin.execute("select k::text from app.api_keys k where id = %s", (key_id,)).fetchall()
    assert key not in kept[0]


def test_a_new_tenant_has_the_limits_that_are_said(operating: Client) -> None:
    made = operating("POST", TENANTS, {"name": "Acme", "limits": LIMITS})
    assert (made.status, made.json["limits"]) == (201, LIMITS)
    some = operating("POST", TENANTS, {"name": "Acme", "limits": {"tokens_per_day": 0}})
    assert some.json["limits"] == NO_LIMITS | {"tokens_per_day": 0}
    assert some.json["id"] != made.json["id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "A", "status": "active"}, "status"),
        ({"name": "A", "limits": None}, "limits"),
        ({"name": "A", "limits": {"runs": 1}}, "limits.runs"),
        ({"name": "A", "limits": {"requests_per_minute": None}}, "limits.requests_per_minute"),
        ({"name": "A", "limits": {"requests_per_minute": 0}}, "limits.requests_per_minute"),
        ({"name": "A", "limits": {"runs_per_minute": 0}}, "limits.runs_per_minute"),
        ({"name": "A", "limits": {"concurrent_runs": 2**31}}, "limits.concurrent_runs"),
        ({"name": "A", "limits": {"tokens_per_day": -1}}, "limits.tokens_per_day"),
        ({"name": "A", "limits": {"tokens_per_day": 2**63}}, "limits.tokens_per_day"),
        ({"name": "A", "limits": {"spend_per_month_usd": -0.01}}, "limits.spend_per_month_usd"),
        ({"name": "A", "limits": {"spend_per_month_usd": 1e12}}, "limits.spend_per_month_usd"),
        ('{"name": "A", "limits": {"spend_per_month_usd": NaN}}', "limits.spend_per_month_usd"),
    ],
)
def test_an_unfit_tenant_is_refused(
    operating: Client, admin: Connection, body: object, field: str
) -> None:
    assert refused_fields(operating("POST", TENANTS, body)) == {f"body.{field}"}
    assert admin.execute("select name from app.tenants").fetchall() == [("Platform",)]


# ── Finding them ─────────────────────────────────────────────────────────────────────────────────


def test_tenants_are_listed_oldest_first_in_pages_that_filters_narrow(
    operating: Client, make_tenant: MakeTenant
) -> None:
    made = [str(make_tenant(name).tenant_id) for name in ("A", "B", "A")]
    everyone = [str(api_keys.PLATFORM), *made]
    assert ids(operating("GET", TENANTS)) == everyone
    first = operating("GET", f"{TENANTS}?limit=3&include_total=true").json
    assert ([item["id"] for item in first["items"]], first["total"]) == (everyone[:3], 4)
    rest = operating("GET", f"{TENANTS}?limit=3&cursor={first['next_cursor']}")
    assert (ids(rest), rest.json["has_more"]) == (everyone[3:], False)

    assert operating("POST", f"{TENANTS}/{made[2]}/suspend").status == 200
    for query, expected in (
        ("name=A", [made[0], made[2]]),
        ("status=suspended", [made[2]]),
        ("name=A&status=active", [made[0]]),
        ("status=deleted", []),
    ):
        page = operating("GET", f"{TENANTS}?{query}&include_total=true")
        assert (ids(page), page.json["total"]) == (expected, len(expected))
    unfit = operating("GET", f"{TENANTS}?status=gone&page=2")
    assert refused_fields(unfit) == {"query.status", "query.page"}
    others = operating("GET", f"{TENANTS}?name=A&cursor={first['next_cursor']}")
    assert refused_fields(others) == {"query.cursor"}


@pytest.mark.parametrize(
    ("method", "way", "body"),
    [
        ("GET", "", None),
        ("PUT", "", {}),
        ("DELETE", "", None),
        ("POST", "/suspend", None),
        ("POST", "/resume", None),
        ("POST", "/keys", {"name": "k"}),
        ("GET", "/usage", None),
    ],
)
def test_a_tenant_that_is_not_there_is_not_found(
    operating: Client, method: str, way: str, body: object
) -> None:
    answer = operating(method, f"{TENANTS}/{uuid(1)}{way}", body)
    assert refused(answer) == (404, "TENANT_NOT_FOUND", {"tenant_id": str(uuid(1))})


# ── Changes ──────────────────────────────────────────────────────────────────────────────────────


def test_what_is_left_out_stays_and_null_lifts(operating: Client, tenant: Caller) -> None:
    path = path_of(tenant)
    told = operating("PUT", path, {"limits": LIMITS, "retention_days": 30}).json
    assert (told["name"], told["limits"], told["retention_days"]) == ("A", LIMITS, 30)
    assert operating("PUT", path, {}).json == told
    assert operating("PUT", path, {"limits": {}}).json == told
    renamed = operating("PUT", path, {"name": "Acme"}).json
    assert renamed == told | {"name": "Acme"}
    for name in LIMITS.keys() - {"requests_per_minute"}:
        lifted = operating("PUT", path, {"limits": {name: None}}).json["limits"]
        assert lifted == operating("GET", path).json["limits"]
        assert lifted[name] is None
    assert lifted == NO_LIMITS | {"requests_per_minute": 7}
    kept = operating("PUT", path, {"retention_days": None, "limits": {"concurrent_runs": 1}}).json
    assert (kept["retention_days"], kept["limits"]["concurrent_runs"]) == (None, 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"limits": None}, "limits"),
        ({"limits": {"requests_per_minute": None}}, "limits.requests_per_minute"),
        ({"limits": {"runs_per_minute": 1.5}}, "limits.runs_per_minute"),
        ({"retention_days": 0}, "retention_days"),
        ({"retention_days": 3651}, "retention_days"),
        ({"delete_after": None}, "delete_after"),
    ],
)
def test_an_unfit_change_is_refused(
    operating: Client, tenant: Caller, body: object, field: str
) -> None:
    before = operating("GET", path_of(tenant)).json
    assert refused_fields(operating("PUT", path_of(tenant), body)) == {f"body.{field}"}
    assert operating("GET", path_of(tenant)).json == before


def test_a_change_touches_no_other_tenant(
    operating: Client, tenant: Caller, stranger: Caller
) -> None:
    before = operating("GET", path_of(stranger)).json
    operating("PUT", path_of(tenant), {"name": "new", "limits": LIMITS, "retention_days": 1})
    operating("POST", f"{path_of(tenant)}/suspend")
    operating("DELETE", path_of(tenant))
    assert operating("GET", path_of(stranger)).json == before


def test_a_changed_limit_is_what_the_authorizer_gives_next(operating: Client) -> None:
    """API Gateway asks it again after 30 seconds."""
    made = operating("POST", TENANTS, {"name": "Acme"}).json
    client_of(made["key"]).tool()
    limits = {"limits": {"requests_per_minute": 3}}
    assert operating("PUT", f"{TENANTS}/{made['id']}", limits).status == 200
    client = client_of(made["key"])
    listed = client("GET", "/tools")
    assert (listed.status, listed.headers["x-ratelimit-limit"]) == (200, "3")


# ── Suspended, deleted, resumed ──────────────────────────────────────────────────────────────────


def test_a_suspended_tenants_keys_are_refused_at_once_and_taken_again_once_it_is_resumed(
    operating: Client, client: Client, other: Client, tenant: Caller
) -> None:
    tool, agent = client.tool(), client.agent()
    for _ in range(2):  # again changes nothing
        suspended = operating("POST", f"{path_of(tenant)}/suspend")
        assert (suspended.status, suspended.json["status"]) == (200, "suspended")
    run = {"prompt": "Hi", "model": "gpt-4o"}
    for method, path, body in (
        ("GET", "/tools", None),
        ("PUT", f"/tools/{tool['id']}", {"name": "new"}),
        ("POST", "/agents", {"name": "new", "role": "spy", "description": "Spies"}),
        ("POST", f"/agents/{agent['id']}/run", run),
        ("GET", "/history", None),
        ("GET", "/usage", None),
        ("GET", "/secrets", None),
    ):
        assert unauthorized(client(method, path, body))
    assert other("GET", "/tools").status == 200
    for _ in range(2):
        resumed = operating("POST", f"{path_of(tenant)}/resume")
        assert (resumed.status, resumed.json["status"]) == (200, "active")
    assert ids(client("GET", "/tools")) == [tool["id"]]


def test_a_suspended_tenants_key_is_unknown_to_the_authorizer(operating: Client) -> None:
    made = operating("POST", TENANTS, {"name": "Acme"}).json
    before = identified(made["key"])
    for way, expected in (("suspend", [None]), ("resume", before)):
        operating("POST", f"{TENANTS}/{made['id']}/{way}")
        assert identified(made["key"]) == expected
    assert before != [None]


@pytest.mark.parametrize(("query", "days"), [("", 7), ("?grace_days=0", 0), ("?grace_days=30", 30)])
def test_a_deleted_tenant_goes_after_its_grace(
    operating: Client, client: Client, tenant: Caller, query: str, days: int
) -> None:
    deleted = operating("DELETE", path_of(tenant) + query)
    assert (deleted.status, deleted.json["status"]) == (200, "deleted")
    left = datetime.fromisoformat(deleted.json["delete_after"]) - datetime.now(UTC)
    assert timedelta(days=days, minutes=-1) < left <= timedelta(days=days)
    assert unauthorized(client("GET", "/tools"))
    assert operating("GET", path_of(tenant)).json == deleted.json


@pytest.mark.parametrize("days", ["-1", "31", "x", ""])
def test_an_unfit_grace_is_refused(operating: Client, tenant: Caller, days: str) -> None:
    answer = operating("DELETE", f"{path_of(tenant)}?grace_days={days}")
    assert refused_fields(answer) == {"query.grace_days"}
    assert operating("GET", path_of(tenant)).json["status"] == "active"


def test_a_deleted_tenant_is_brought_back_within_its_grace_and_does_nothing_else(
    operating: Client, client: Client, tenant: Caller, admin: Connection
) -> None:
    tool = client.tool()
    deleted = operating("DELETE", path_of(tenant)).json
    details = {"tenant_id": deleted["id"], "delete_after": deleted["delete_after"]}
    for method, way, body in (
        ("PUT", "", {"name": "new"}),
        ("PUT", "", {}),
        ("POST", "/suspend", None),
        ("POST", "/keys", {"name": "new"}),
        ("DELETE", "?grace_days=0", None),
    ):
        answer = operating(method, path_of(tenant) + way, body)
        assert refused(answer) == (409, "TENANT_DELETED", details)
    assert operating("GET", path_of(tenant)).json == deleted
    resumed = operating("POST", f"{path_of(tenant)}/resume")
    assert resumed.json == deleted | {"status": "active", "delete_after": None}
    assert ids(client("GET", "/tools")) == [tool["id"]]
    assert admin.execute("select count(*) from app.api_keys").fetchone() == (2,)


def test_after_its_grace_a_deleted_tenant_stays_so(operating: Client, tenant: Caller) -> None:
    deleted = operating("DELETE", f"{path_of(tenant)}?grace_days=0").json
    answer = operating("POST", f"{path_of(tenant)}/resume")
    details = {"tenant_id": deleted["id"], "delete_after": deleted["delete_after"]}
    assert refused(answer) == (409, "TENANT_DELETED", details)
    assert operating("GET", path_of(tenant)).json == deleted


def test_the_platforms_own_tenant_stays(operating: Client, operator: Caller) -> None:
    details = {"tenant_id": str(api_keys.PLATFORM)}
    for method, way in (("POST", "/suspend"), ("DELETE", ""), ("DELETE", "?grace_days=0")):
        answer = operating(method, path_of(operator) + way)
        assert refused(answer) == (409, "TENANT_PROTECTED", details)
    told = operating("POST", f"{path_of(operator)}/resume").json
    assert (told["name"], told["status"]) == ("Platform", "active")


# ── Keys ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_tenant_gets_another_key(operating: Client, tenant: Caller, admin: Connection) -> None:
    asked = {"name": " ci ", "scopes": ["tools:read", "keys:write", "tools:read"]}
    made = operating("POST", f"{path_of(tenant)}/keys", asked | {"expires_in_days": 1})
    assert made.status == 201
    told = made.json
    left = datetime.fromisoformat(told["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(days=1)
    assert told == {
        "id": told["id"],
        "name": "ci",
        "key": told["key"],
        "prefix": "map_live_",
        "last_four": told["key"][-4:],
        "scopes": ["keys:write", "tools:read"],
        "created_at": told["created_at"],
        "expires_at": told["expires_at"],
        "revoked_at": None,
        "last_used_at": None,
    }
    assert made.headers["location"] == f"/live/api/v1/keys/{told['id']}"
    [caller] = identified(told["key"])
    assert caller
    assert caller.tenant_id == tenant.tenant_id
    assert Client(caller)("GET", "/tools").status == 200
    assert Client(caller)("GET", "/agents").error_code == "INSUFFICIENT_SCOPE"


def test_a_tenants_key_has_all_scopes_and_90_days_unless_told_otherwise(
    operating: Client, tenant: Caller
) -> None:
    told = operating("POST", f"{path_of(tenant)}/keys", {"name": "all"}).json
    assert told["scopes"] == [*api_keys.SCOPES]
    left = datetime.fromisoformat(told["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "k", "scopes": ["platform:admin"]}, "scopes.0"),
        ({"name": "k", "scopes": ["tools:read", "tools:all"]}, "scopes.1"),
        ({"name": "k", "scopes": None}, "scopes"),
        ({"name": "k", "scopes": []}, "scopes"),
        ({"name": "k", "expires_in_days": 0}, "expires_in_days"),
        ({"name": "k", "expires_in_days": 366}, "expires_in_days"),
        ({"name": "k", "key": "mine"}, "key"),
    ],
)
def test_an_unfit_key_is_refused(
    operating: Client, tenant: Caller, admin: Connection, body: object, field: str
) -> None:
    answer = operating("POST", f"{path_of(tenant)}/keys", body)
    assert refused_fields(answer) == {f"body.{field}"}
    assert admin.execute("select count(*) from app.api_keys").fetchone() == (2,)


@pytest.mark.parametrize(("way", "body"), [("", {"name": "Acme"}), ("/{}/keys", {"name": "k"})])
def test_a_request_sent_again_makes_nothing_anew_and_tells_no_key(
    operating: Client, tenant: Caller, admin: Connection, way: str, body: object
) -> None:
    path, once = TENANTS + way.format(tenant.tenant_id), {"Idempotency-Key": "once"}
    first = operating("POST", path, body, once)
    before = admin.execute("select id from app.api_keys").fetchall()
    again = operating("POST", path, body, once)
    assert (first.status, again.status) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json == first.json | {"key": None}
    assert admin.execute("select id from app.api_keys").fetchall() == before
    [(stored,)] = admin.execute("select body from app.idempotency_keys").fetchall()
    assert first.json["key"] not in stored
    assert identified(first.json["key"]) != [None]


# ── Usage ────────────────────────────────────────────────────────────────────────────────────────


def used(admin: Connection, tenant: Caller, model: str, at: datetime, cost: str) -> None:
    admin.execute(
        "insert into app.executions (tenant_id, agent_id, agent_name, model, prompt, status,"
        " created_at, input_tokens, output_tokens, cost_usd)"
        " values (%s, %s, 'Ann', %s, 'p', 'completed', %s, 3, 2, %s)",
        (tenant.tenant_id, uuid4(), model, at, cost),
    )


def kept(admin: Connection, tenant: Caller, model: str, at: datetime, cost: str) -> None:
    admin.execute(
        "insert into app.daily_usage values (%s, %s, %s, %s, 'Ann', 10, 30, 20, %s)",
        (tenant.tenant_id, at.date(), model, uuid4(), cost),
    )


def of_day(day: str, model: str, runs: int, cost: float) -> dict[str, Any]:
    tokens = {"input_tokens": 3 * runs, "output_tokens": 2 * runs}
    return {"day": day, "model": model, "runs": runs, "cost_usd": cost} | tokens


def test_usage_adds_up_a_tenants_runs_those_that_are_deleted_too(
    operating: Client, tenant: Caller, stranger: Caller, admin: Connection
) -> None:
    noon = datetime(2024, 1, 15, 12, tzinfo=UTC)
    for _ in range(2):  # of two agents
        used(admin, tenant, "gpt-4", noon, "0.25")
        kept(admin, tenant, "gpt-4", noon, "1.5")
    used(admin, tenant, "gpt-4o", noon, "0.125")
    used(admin, tenant, "gpt-4", noon + timedelta(days=1), "0.25")
    kept(admin, tenant, "gpt-4o", noon - timedelta(days=1), "2")
    for write in (used, kept):
        write(admin, stranger, "gpt-4", noon, "100")
    path, day = f"{path_of(tenant)}/usage", "2024-01-15"
    before, all_ = of_day("2024-01-14", "gpt-4o", 10, 2.0), of_day(day, "gpt-4", 22, 3.5)
    small, after = of_day(day, "gpt-4o", 1, 0.125), of_day("2024-01-16", "gpt-4", 1, 0.25)
    for query, expected in (
        ("created_after=2024-01-01T00:00:00Z", [after, all_, small, before]),
        ("created_after=2024-01-15T00:00:00Z", [after, all_, small]),
        (
            "created_after=2024-01-15T00:00:00Z&created_before=2024-01-16T00:00:00Z",
            [all_, small],
        ),
        ("created_after=2024-01-01T00:00:00Z&created_before=2024-01-15T00:00:00Z", [before]),
        ("created_after=2024-01-01T00:00:00Z&model=gpt-4", [after, all_]),
        # A bound that cuts a day: deleted runs of that day count in full.
        (
            "created_after=2024-01-15T18:00:00Z",
            [after, of_day(day, "gpt-4", 20, 3.0) | {"input_tokens": 60, "output_tokens": 40}],
        ),
        ("", []),
    ):
        answer = operating("GET", f"{path}?{query}")
        assert (answer.status, answer.json) == (200, {"items": expected})
    assert refused_fields(operating("GET", f"{path}?created_after=1")) == {"query.created_after"}


def test_without_bounds_usage_is_of_30_days(
    operating: Client, tenant: Caller, admin: Connection
) -> None:
    now = datetime.now(UTC)
    for days in (1, 29, 31):
        used(admin, tenant, "gpt-4", now - timedelta(days=days), "1")
        kept(admin, tenant, "gpt-4", now - timedelta(days=days), "1")
    told = operating("GET", f"{path_of(tenant)}/usage").json["items"]
    expected = [str((now - timedelta(days=days)).date()) for days in (1, 29)]
    assert [(item["day"], item["runs"]) for item in told] == [(day, 11) for day in expected]


# ── Nobody else ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Operation:
    """An operation of the operators', with a body that it takes."""

    method: str
    path: str
    body: object

    def ask(self, client: Client, tenant: Caller) -> Answer:
        return client(self.method, self.path.format(tenant_id=tenant.tenant_id), self.body)


def operations() -> Iterator[Operation]:
    document = openapi.document()
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/api/v1/admin/"):
                body = None
                if "requestBody" in operation:
                    [content] = operation["requestBody"]["content"].values()
                    body = schemas[content["schema"]["$ref"].rpartition("/")[2]]["examples"][0]
                yield Operation(method.upper(), path, body)


OPERATIONS = list(operations())
each_operation = pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}"
)


def state(admin: Connection) -> list[Any]:
    """Return all that an operation could change; that it was refused is noted, and no change."""
    changes = "(select * from app.audit_log where action not like '%.refused')"
    return [
        admin.execute(f"select t::text from {table} t order by 1").fetchall()
        for table in ("app.tenants", "app.api_keys", changes, "app.idempotency_keys")
    ]


def test_there_are_operations_to_be_tried() -> None:
    assert len(OPERATIONS) >= 9


@each_operation
def test_an_operator_can_do_it(operating: Client, tenant: Caller, operation: Operation) -> None:
    assert operation.ask(operating, tenant).status in {200, 201}


@each_operation
def test_a_tenants_key_cannot(
    client: Client, stranger: Caller, admin: Connection, operation: Operation
) -> None:
    before = state(admin)
    for whose in (client.caller, stranger):
        assert whose
        answer = operation.ask(client, whose)
        details = {"required_scope": "platform:admin"}
        assert refused(answer) == (403, "INSUFFICIENT_SCOPE", details)
    assert state(admin) == before


@each_operation
def test_the_database_refuses_who_is_no_operator_whatever_the_authorizers_context_says(
    make_tenant: MakeTenant,
    operator: Caller,
    tenant: Caller,
    admin: Connection,
    operation: Operation,
) -> None:
    scopes = tenant.scopes | {api_keys.OPERATOR_SCOPE}
    admin.execute(
        "insert into app.api_keys (tenant_id, id, name, digest, pepper_version, prefix, last_four,"
        " scopes) values (%s, %s, 'lesser', sha256('lesser'), 1, 'p', 'f', '{keys:write}')",
        (api_keys.PLATFORM, uuid(2)),
    )
    before = state(admin)
    for forged in (
        replace(tenant, scopes=scopes),
        replace(tenant, scopes=scopes, tenant_id=api_keys.PLATFORM),
        replace(operator, tenant_id=tenant.tenant_id),
        replace(operator, key_id=uuid(2)),
        replace(operator, key_id=uuid(3)),
    ):
        assert unauthorized(operation.ask(Client(forged), tenant))
    assert state(admin) == before


def test_a_stored_answer_is_told_to_operators_alone(
    operating: Client, operator: Caller, admin: Connection
) -> None:
    once = {"Idempotency-Key": "once"}
    assert operating("POST", TENANTS, {"name": "Acme"}, once).status == 201
    admin.execute(
        "update app.api_keys set scopes = '{keys:write}' where id = %s", (operator.key_id,)
    )
    assert unauthorized(operating("POST", TENANTS, {"name": "Acme"}, once))


def test_an_operator_whose_key_is_revoked_is_none_at_once(
    operating: Client, operator: Caller, admin: Connection
) -> None:
    assert operating("GET", TENANTS).status == 200
    admin.execute("update app.api_keys set revoked_at = now() where id = %s", (operator.key_id,))
    assert unauthorized(operating("GET", TENANTS))


def test_an_operators_key_does_nothing_on_tenants_routes(
    operating: Client, operator: Caller, client: Client
) -> None:
    """Nor would it see anything of theirs, had it the scopes."""
    tool, agent = client.tool(), client.agent()
    run = client.run(agent)["execution_id"]
    for path in ("/tools", "/agents", "/history", "/secrets", "/usage", f"/executions/{run}"):
        assert operating("GET", path).error_code == "INSUFFICIENT_SCOPE"
    forging = Client(
        replace(operator, scopes=frozenset({*api_keys.SCOPES, api_keys.OPERATOR_SCOPE}))
    )
    for path in ("/tools", "/agents", "/history", "/secrets", "/usage"):
        assert forging("GET", path).json["items"] == []
    for path in (f"/tools/{tool['id']}", f"/agents/{agent['id']}", f"/history/{run}"):
        assert forging("GET", path).status == 404


# ── What the database lets operators see ─────────────────────────────────────────────────────────


@pytest.fixture
def as_operator(postgres: backends.Server, operator: Caller) -> Iterator[Connection]:
    """A transaction of an operator's."""
    with connect(postgres, "map_operator") as conn, conn.transaction(force_rollback=True):
        conn.execute(*Operator(**vars_of(operator)).entry_statement())
        yield conn


def vars_of(caller: Caller) -> dict[str, Any]:
    return {name: getattr(caller, name) for name in Caller.__dataclass_fields__}


@pytest.mark.parametrize(
    "query",
    [
        "select prompt from app.executions",
        "select response from app.executions",
        "select definition from app.executions",
        "select * from app.executions",
        "select from app.execution_steps",
        "select ciphertext from app.secrets",
        "select name from app.secrets",
        "select digest from app.api_keys",
        "select * from app.api_keys",
        "select from app.tools",
        "select from app.agents",
        "update app.api_keys set scopes = '{platform:admin}'",
        "update app.api_keys set revoked_at = null",
        "update app.audit_log set action = 'x'",
        "delete from app.audit_log",
        "delete from app.tenants",
        "delete from app.executions",
    ],
)
def test_an_operators_role_may_not(as_operator: Connection, query: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        as_operator.execute(query.encode())


def test_an_operator_sees_counts_of_all_and_stored_answers_of_the_platform_alone(
    client: Client, tenant: Caller, as_operator: Connection
) -> None:
    client.run(client.agent())
    client("POST", "/tools", {"name": "k", "description": "k"}, {"Idempotency-Key": "once"})
    counted = "select tenant_id, model, count(*) from app.executions group by 1, 2"
    assert as_operator.execute(counted).fetchall() == [(tenant.tenant_id, "gpt-4o", 1)]
    assert as_operator.execute("select from app.idempotency_keys").rowcount == 0


def test_without_being_entered_as_operator_its_role_sees_no_tenant(
    postgres: backends.Server, operator: Caller, tenant: Caller
) -> None:
    with connect(postgres, "map_operator") as conn, conn.transaction():
        for table in ("tenants", "api_keys", "executions", "daily_usage", "audit_log"):
            assert conn.execute(f"select from app.{table}").rowcount == 0
        conn.execute(*operator.entry_statement())
        assert conn.execute("select id from app.tenants").fetchall() == [(api_keys.PLATFORM,)]


@pytest.mark.parametrize("whose", [UUID(int=0), None])
def test_who_is_no_operator_does_not_enter_as_one(
    postgres: backends.Server, tenant: Caller, operator: Caller, whose: UUID | None
) -> None:
    forged = Operator(**vars_of(replace(tenant, tenant_id=whose or tenant.tenant_id)))
    with connect(postgres, "map_operator") as conn, pytest.raises(psycopg.Error) as refusal:
        conn.execute(*forged.entry_statement())
    assert refusal.value.sqlstate == "MAP01"


def test_a_tenants_key_cannot_be_given_the_operators_scope(
    as_operator: Connection, tenant: Caller
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="operators_of_platform"):
        as_operator.execute(
            "insert into app.api_keys (tenant_id, name, digest, pepper_version, prefix, last_four,"
            " scopes) values (%s, 'k', sha256('k'), 1, 'p', 'f', '{platform:admin}')",
            (tenant.tenant_id,),
        )
