"""Reading the audit log, as a tenant and as an operator."""

from uuid import UUID

from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from tests.conftest import MakeTenant
from tests.databases import Connection
from tests.events import Answer, uuid
from tests.integration.actors import ADDRESS, Actors
from tests.integration.client import TOOL, Client, refused_fields


def test_an_entry_as_its_tenant_reads_it(client: Client, tenant: Caller) -> None:
    tool = client.tool()
    renamed = client("PUT", f"/tools/{tool['id']}", {"name": "new"})
    [entry, _] = client("GET", "/audit").json["items"]
    assert UUID(entry.pop("id"))
    assert entry.pop("created_at") > renamed.json["updated_at"]
    assert entry == {
        "actor": "key",
        "key_id": str(tenant.key_id),
        "address": ADDRESS,
        "request_id": renamed.headers["x-request-id"],
        "action": "tool.updated",
        "target_type": "tool",
        "target_id": tool["id"],
        "before": {"name": TOOL["name"]},
        "after": {"name": "new"},
    }


def test_filters_are_exact_and_combine(client: Client, admin: Connection, tenant: Caller) -> None:
    tool, agent = client.tool(), client.agent()
    assert client("PUT", f"/tools/{tool['id']}", {"name": "new"}).status == 200
    client.tool()
    admin.execute("update app.audit_log set key_id = null where action = 'tool.updated'")
    client("DELETE", f"/agents/{agent['id']}")
    for query, total in (
        ("", 5),
        ("action=tool.created", 2),
        ("action=tool", 0),
        ("target_type=agent", 2),
        (f"target_id={tool['id']}", 2),
        (f"target_id={tool['id']}&action=tool.updated", 1),
        (f"key_id={tenant.key_id}", 4),
        (f"key_id={uuid(1)}", 0),
        ("created_after=2024-01-01T00:00:00Z&created_before=2024-01-02T00:00:00Z", 0),
        ("created_after=2024-01-01T00:00:00Z&created_before=2999-01-02T00:00:00Z", 5),
    ):
        page = client("GET", f"/audit?include_total=true&{query}").json
        assert (page["total"], len(page["items"])) == (total, total), query
    moment = client("GET", "/audit").json["items"][2]["created_at"]
    assert len(client("GET", f"/audit?created_after={moment}").json["items"]) == 2
    assert len(client("GET", f"/audit?created_before={moment}").json["items"]) == 2
    assert refused_fields(client("GET", "/audit?created_after=1700000000&key_id=x")) == {
        *("query.created_after", "query.key_id")
    }


def test_a_tenant_is_not_told_which_operator_it_was(actors: Actors) -> None:
    tenant = actors.tenant.tenant_id
    actors.writes("update app.tenants set name = 'new' where id = %s", tenant, as_operator=True)
    [entry] = actors.client("GET", "/audit").json["items"]
    assert (entry["actor"], entry["action"]) == ("operator", "tenant.updated")
    assert (entry["key_id"], entry["address"], entry["request_id"]) == (None, None, None)
    by_key = actors.client("GET", f"/audit?include_total=true&key_id={actors.operator.key_id}")
    assert by_key.json["total"] == len(by_key.json["items"]) == 0


def all_entries(caller: Caller, query: str = "") -> Answer:
    """Return the operators' answer about all tenants."""
    return Client(caller)("GET", f"/admin/audit{query}")


def test_an_operator_reads_what_all_tenants_did_and_who_did_it(
    actors: Actors, other: Client
) -> None:
    tool, _ = actors.client.tool(), other.tool()
    tenant = actors.tenant.tenant_id
    actors.writes("update app.tenants set name = 'new' where id = %s", tenant, as_operator=True)
    changed, theirs, own = all_entries(actors.operator).json["items"]
    assert other.caller
    assert theirs["tenant_id"] == str(other.caller.tenant_id)
    assert (own["tenant_id"], own["target_id"]) == (str(tenant), tool["id"])
    assert (own["actor"], own["key_id"]) == ("key", str(actors.tenant.key_id))
    assert changed["actor"] == "operator"
    assert changed["tenant_id"] == str(tenant)
    assert changed["key_id"] == str(actors.operator.key_id)
    assert (changed["address"], changed["request_id"]) == (ADDRESS, "request")
    for query, total in (
        (f"tenant_id={tenant}", 2),
        (f"tenant_id={tenant}&action=tool.created", 1),
        (f"key_id={actors.operator.key_id}", 1),
        (f"tenant_id={uuid(9)}", 0),
    ):
        assert all_entries(actors.operator, f"?include_total=true&{query}").json["total"] == total
    first = all_entries(actors.operator, "?limit=2").json
    assert first["items"] == [changed, theirs]
    assert all_entries(actors.operator, f"?cursor={first['next_cursor']}").json["items"] == [own]


def test_nobody_else_reads_it(actors: Actors, make_tenant: MakeTenant) -> None:
    """Neither a tenant's key nor one that claims more than the database knows of it."""
    refused = all_entries(actors.tenant)
    assert (refused.status, refused.error_code) == (403, "INSUFFICIENT_SCOPE")
    [entry] = all_entries(actors.operator).json["items"]
    assert entry["tenant_id"] == str(actors.tenant.tenant_id)
    assert (entry["action"], entry["target_id"]) == ("access.refused", "GET /api/v1/admin/audit")
    posing = make_tenant("posing")
    claims = Caller(posing.tenant_id, posing.key_id, frozenset({api_keys.OPERATOR_SCOPE}), 100)
    assert all_entries(claims).error_code == "INVALID_API_KEY"
