"""Every change is in the audit log with who made it; without its trigger it would be missed."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from local import backends
from mini_agent.identity.callers import Caller
from tests.databases import Connection, connect
from tests.events import uuid
from tests.integration.actors import Actors, Entry
from tests.integration.client import AGENT, RUN, TOOL, Client, ids
from tests.integration.running import Model, Outside, Waiting, ask_for, say, scripted

HEADER, SECRET = "Bearer only-the-endpoint-knows", "only-the-provider-knows"
ENDPOINT = {
    "method": "GET",
    "url": "https://search.example.com/",
    "headers": {"Authorization": HEADER},
    "timeout_seconds": 10,
}
LOGGED_ENDPOINT = ENDPOINT | {"headers": {"Authorization": "***"}}


# ── What is done is told ─────────────────────────────────────────────────────────────────────────


def tools(actors: Actors) -> None:
    made, told = actors.does("POST", "/tools", TOOL | {"endpoint": ENDPOINT})
    tool = made.json["id"]
    fields = TOOL | {
        "id": tool,
        "parameters": None,
        "endpoint": LOGGED_ENDPOINT,
        "idempotent": False,
        "requires_approval": False,
    }
    assert told == [("tool.created", tool, None, fields)]
    _, told = actors.does("PUT", f"/tools/{tool}", {"name": "new", "idempotent": True})
    before, after = {"name": TOOL["name"], "idempotent": False}, {"name": "new", "idempotent": True}
    assert told == [("tool.updated", tool, before, after)]
    other = ENDPOINT | {"headers": {"Authorization": f"{HEADER} too"}}
    _, told = actors.does("PUT", f"/tools/{tool}", {"endpoint": other})
    endpoint = {"endpoint": LOGGED_ENDPOINT}
    assert told == [("tool.updated", tool, endpoint, endpoint)], "that it changed, not to what"
    _, told = actors.does("DELETE", f"/tools/{tool}")
    assert told == [("tool.deleted", tool, fields | after, None)]


def agents(actors: Actors) -> None:
    made, told = actors.does("POST", "/agents", AGENT)
    agent = made.json["id"]
    assert told == [("agent.created", agent, None, AGENT | {"id": agent})]
    _, told = actors.does("PUT", f"/agents/{agent}", {"role": "spy"})
    assert told == [("agent.updated", agent, {"role": AGENT["role"]}, {"role": "spy"})]
    _, told = actors.does("DELETE", f"/agents/{agent}")
    assert told == [("agent.deleted", agent, AGENT | {"id": agent, "role": "spy"}, None)]


def tools_given(actors: Actors) -> None:
    one, two, three = sorted(actors.client.tool(name)["id"] for name in ("a", "b", "c"))
    made, told = actors.does("POST", "/agents", AGENT | {"tool_ids": [two, one]})
    agent = made.json["id"]
    assert ("agent.tools_added", agent, None, {"tool_ids": [one, two]}) in told
    _, told = actors.does("PUT", f"/agents/{agent}", {"tool_ids": [three, two]})
    assert ("agent.tools_added", agent, None, {"tool_ids": [three]}) in told


def tools_taken(actors: Actors) -> None:
    one, two, three = sorted(actors.client.tool(name)["id"] for name in ("a", "b", "c"))
    agent = actors.client.agent(tool_ids=[one, two])["id"]
    _, told = actors.does("PUT", f"/agents/{agent}", {"tool_ids": [three, two]})
    assert ("agent.tools_removed", agent, {"tool_ids": [one]}, None) in told
    _, told = actors.does("DELETE", f"/agents/{agent}")
    assert sorted(action for action, *_ in told) == ["agent.deleted", "agent.tools_removed"]
    assert ("agent.tools_removed", agent, {"tool_ids": [two, three]}, None) in told


def secrets(actors: Actors) -> None:
    _, told = actors.does("PUT", "/secrets/s", {"value": SECRET})
    [(action, name, before, after)] = told
    assert (action, name, before) == ("secret.created", "s", None)
    assert after
    assert (after["name"], after["ciphertext"]) == ("s", "***")
    _, told = actors.does("PUT", "/secrets/s", {"value": f"{SECRET} too"})
    assert told == [("secret.updated", "s", {"ciphertext": "***"}, {"ciphertext": "***"})]
    _, told = actors.does("DELETE", "/secrets/s")
    assert told == [("secret.deleted", "s", after, None)]


def cancelled_runs(actors: Actors) -> None:
    with scripted(actors.monkeypatch, Model(say()), Outside()):
        asked = actors.client(
            "POST",
            f"/agents/{actors.client.agent()['id']}/run",
            RUN,
            {"Prefer": "respond-async"},
        )
        run = asked.json["execution_id"]
        _, told = actors.does("POST", f"/executions/{run}/cancel")
        [(action, target, before, after)] = told
        assert (action, target) == ("run.cancelled", run)
        assert before == {"status": "queued", "stop_reason": None, "finished_at": None}
        assert after
        assert after.keys() == before.keys()
        assert (after["status"], after["stop_reason"]) == ("cancelled", "cancelled")
        assert actors.does("POST", f"/executions/{run}/cancel")[1] == []


def approvals(actors: Actors) -> None:
    for decision in ("approve", "reject"):
        run = waiting(actors, decision)
        path, asked = (
            f"/executions/{run}/approvals/2",
            {"decision": decision, "comment": "So be it"},
        )
        _, told = actors.does("POST", path, asked)
        [(action, target, before, after)] = told
        assert (action, target) == (f"approval.{decision}", f"{run}/2")
        assert before
        assert after
        assert (
            before.keys()
            == after.keys()
            == asked.keys() | {*("decided_by", "status", "finished_at")}
        )
        assert after.items() >= (asked | {"decided_by": str(actors.tenant.key_id)}).items()
        assert actors.does("POST", path, asked)[1] == [], "the same decision again"


def waiting(actors: Actors, name: str) -> str:
    """Return a run whose second step waits for approval."""
    with scripted(actors.monkeypatch, Model(ask_for(name), say()), Outside()) as engine:
        tool = actors.client.tool(name, requires_approval=True, endpoint=ENDPOINT)
        agent = actors.client.agent(name, tool_ids=[tool["id"]])
        assert actors.client("POST", f"/agents/{agent['id']}/run", RUN).status == 202
        [run] = engine.queued
        with pytest.raises(Waiting):
            engine.work(run)
        return str(run.execution_id)


NEW_KEY = (
    "insert into app.api_keys ({} id, name, digest, pepper_version, prefix, last_four, scopes)"
    " values ({} %s, 'new', sha256(gen_random_uuid()::text::bytea), 1, 'map_live_', 'last',"
    " '{{tools:read}}')"
)


def made_keys(actors: Actors) -> None:
    key = uuid4()
    fields = {
        "id": str(key),
        "name": "new",
        "digest": "***",
        "pepper_version": 1,
        "prefix": "map_live_",
        "last_four": "last",
        "scopes": ["tools:read"],
        **dict.fromkeys(("expires_at", "revoked_at", "last_used_at")),
    }
    told = actors.writes(NEW_KEY.format("", ""), key)
    assert told == [("key.created", str(key), None, fields)]
    for column, action in (("expires_at", "rotated"), ("revoked_at", "revoked")):
        change = f"update app.api_keys set {column} = now() where id = %s"
        [(done, target, before, after)] = actors.writes(change, key)
        assert (done, target, before) == (f"key.{action}", str(key), {column: None})
        assert after
        assert after.keys() == {column}


def keys_made_by_an_operator(actors: Actors) -> None:
    key = uuid4()
    statement = NEW_KEY.format("tenant_id,", f"'{actors.tenant.tenant_id}',")
    [(action, target, _, after)] = actors.writes(statement, key, as_operator=True)
    assert (action, target) == ("key.created", str(key))
    assert after
    assert after["digest"] == "***"


def tenants(actors: Actors) -> None:
    tenant = uuid4()
    make = "insert into app.tenants (id, name) values (%s, 'Acme')"
    [(action, target, before, after)] = actors.writes(make, tenant, as_operator=True)
    assert (action, target, before) == ("tenant.created", str(tenant), None)
    assert after
    assert after.items() >= {"name": "Acme", "status": "active", "tokens_per_day": None}.items()

    def change(to: str) -> list[Entry]:
        return actors.writes(f"update app.tenants set {to} where id = %s", tenant, as_operator=True)

    assert change("name = 'Ajax', tokens_per_day = 7, retention_days = null") == [
        (
            "tenant.updated",
            str(tenant),
            {"name": "Acme", "tokens_per_day": None},
            {"name": "Ajax", "tokens_per_day": 7},
        )
    ]
    for status, action in (("suspended", "suspended"), ("active", "resumed")):
        [(done, _, _, after)] = change(f"status = '{status}'")
        assert (done, after) == (f"tenant.{action}", {"status": status})
    [(done, _, before, after)] = change("status = 'deleted', delete_after = now()")
    assert (done, before) == ("tenant.deleted", {"status": "active", "delete_after": None})
    assert after
    assert after.keys() == {"status", "delete_after"}


Case = Callable[[Actors], None]
CASES: list[tuple[str, Case]] = [
    ("tools.audit", tools),
    ("agents.audit", agents),
    ("agent_tools.audit_added", tools_given),
    ("agent_tools.audit_removed", tools_taken),
    ("secrets.audit", secrets),
    ("executions.audit", cancelled_runs),
    ("execution_steps.audit", approvals),
    ("api_keys.audit", made_keys),
    ("api_keys.audit", keys_made_by_an_operator),
    ("tenants.audit", tenants),
]
"""Each with the trigger that tells of it."""


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=lambda case: case.__name__)
def test_what_is_done_is_told_with_who_did_it_and_what_changed(actors: Actors, case: Case) -> None:
    case(actors)


@pytest.mark.parametrize(("trigger", "case"), CASES)
def test_without_its_trigger_a_change_would_be_missed(
    actors: Actors, trigger: str, case: Case
) -> None:
    table, _, name = trigger.partition(".")
    actors.admin.execute(f"alter table app.{table} disable trigger {name}".encode())
    try:
        with pytest.raises((AssertionError, ValueError)):
            case(actors)
    finally:
        actors.admin.execute(f"alter table app.{table} enable trigger {name}".encode())


TRIGGERS = """
    select c.relname || '.' || t.tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid
    where t.tgfoid in ('app.add_audit_entry'::regproc, 'app.add_agent_tools_audit_entry'::regproc)
"""


def test_every_trigger_has_its_case(admin: Connection) -> None:
    assert {name for (name,) in admin.execute(TRIGGERS)} == {trigger for trigger, _ in CASES}


def test_nothing_is_told_where_nothing_changed(actors: Actors) -> None:
    client = actors.client
    tool, used = client.tool("unused", endpoint=ENDPOINT), client.tool("used")
    agent = client.agent(tool_ids=[used["id"]])
    assert client("PUT", "/secrets/s", {"value": SECRET}).status == 200
    path = f"/agents/{agent['id']}"
    for method, asked, body, status in (
        ("PUT", f"/tools/{tool['id']}", {}, 200),
        ("PUT", f"/tools/{tool['id']}", {"name": "unused", "endpoint": ENDPOINT}, 200),
        ("PUT", path, {}, 200),
        ("PUT", path, AGENT | {"tool_ids": [used["id"], used["id"]]}, 200),
        ("POST", "/tools", TOOL | {"name": "used"}, 409),
        ("PUT", f"/tools/{tool['id']}", {"name": "used"}, 409),
        ("POST", "/agents", AGENT, 409),
        ("DELETE", f"/tools/{used['id']}", None, 409),
        ("DELETE", f"/tools/{uuid(1)}", None, 404),
        ("PUT", f"/tools/{uuid(1)}", {"name": "new"}, 404),
        ("DELETE", f"/agents/{uuid(1)}", None, 404),
        ("PUT", f"/agents/{uuid(1)}", {"tool_ids": [used["id"]]}, 404),
        ("DELETE", "/secrets/none", None, 404),
        ("POST", f"{path}/run", RUN, 200),
        ("GET", "/audit?include_total=true", None, 200),
    ):
        answer, told = actors.does(method, asked, body)
        assert (answer.status, told) == (status, []), (method, asked)


def test_a_repeated_request_is_told_once(client: Client) -> None:
    for _ in range(2):
        assert client("POST", "/tools", TOOL, {"Idempotency-Key": "once"}).status == 201
    assert client("GET", "/audit?include_total=true").json["total"] == 1


def test_what_is_not_committed_is_not_told(actors: Actors) -> None:
    """The tool is there, its entry too, and then the answer cannot be stored."""
    actors.admin.execute(
        "alter table app.idempotency_keys add constraint broken check (status is null)"
    )
    try:
        failed = actors.client("POST", "/tools", TOOL, {"Idempotency-Key": "once"})
    finally:
        actors.admin.execute("alter table app.idempotency_keys drop constraint broken")
    assert failed.status == 500
    for path in ("/tools", "/audit"):
        assert ids(actors.client("GET", path)) == []


def test_who_changes_a_row_later_is_later_in_the_log(
    client: Client, tenant: Caller, postgres: backends.Server
) -> None:
    """Whenever the transactions began: a state can be made of the log alone."""
    tool = client.tool()["id"]
    with connect(postgres, "map_api") as conn, conn.transaction():
        conn.execute("select app.enter_tenant(%s, %s)", (tenant.tenant_id, tenant.key_id))
        assert client("PUT", f"/tools/{tool}", {"name": "first"}).status == 200
        conn.execute("update app.tools set name = 'last'")
    told = client("GET", "/audit?action=tool.updated").json["items"]
    assert [entry["after"]["name"] for entry in told] == ["last", "first"]


def test_what_must_not_be_told_is_nowhere_in_the_log(actors: Actors) -> None:
    for case in (tools, secrets, made_keys, keys_made_by_an_operator):
        case(actors)
    actors.client("PUT", "/secrets/kept", {"value": SECRET})
    [text] = actors.admin.execute(
        "select string_agg(l::text, '') from app.audit_log l"
    ).fetchone() or [""]
    untold = [
        untold
        for (untold,) in actors.admin.execute(
            "select encode(digest, 'hex') from app.api_keys"
            " union all select encode(ciphertext, 'hex') from app.secrets"
        )
    ]
    assert len(untold) >= 5
    assert not [secret for secret in (HEADER, SECRET, *untold) if secret in text]
    assert "only-the" not in actors.client("GET", "/audit?limit=100").text
