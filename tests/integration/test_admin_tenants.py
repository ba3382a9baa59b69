"""Operators create, list and change tenants."""

from datetime import UTC, datetime, timedelta

import pytest

from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from tests.conftest import Connection, MakeTenant
from tests.events import uuid
from tests.integration.client import Client, identified, ids, refused_fields
from tests.integration.keys import client_of
from tests.integration.tenants import TENANTS, path_of, refused

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
