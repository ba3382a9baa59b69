"""Operators suspend, delete and resume tenants."""

from datetime import UTC, datetime, timedelta

import pytest

from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from tests.conftest import Connection
from tests.integration.client import Client, identified, ids, refused_fields
from tests.integration.tenants import TENANTS, path_of, refused, unauthorized


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
