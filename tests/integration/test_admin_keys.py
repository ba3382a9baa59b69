"""Operators create keys for tenants."""

from datetime import UTC, datetime, timedelta

import pytest

from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from tests.conftest import Connection
from tests.integration.client import Client, identified, refused_fields
from tests.integration.tenants import TENANTS, path_of


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
