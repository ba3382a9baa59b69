"""The audit log: who did what to what, when; whatever changed, and nothing that did not."""

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from functions.admin.app import handler as operators_room
from functions.authorizer.app import handler as authorizer
from local import backends
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from tests.conftest import MakeTenant
from tests.databases import Connection, configured, connect
from tests.events import Answer, Context, event, invoke, uuid
from tests.integration.client import AGENT, RUN, TOOL, Client, ids, refused_fields
from tests.integration.running import Model, Outside, Waiting, ask_for, say, scripted
from tests.integration.test_agents import wait_until

ADDRESS = "192.0.2.1"
HEADER, SECRET = "Bearer only-the-endpoint-knows", "only-the-provider-knows"
ENDPOINT = {
    "method": "GET",
    "url": "https://search.example.com/",
    "headers": {"Authorization": HEADER},
    "timeout_seconds": 10,
}
TOLD_OF_ENDPOINT = ENDPOINT | {"headers": {"Authorization": "***"}}

Told = tuple[str, str, dict[str, Any] | None, dict[str, Any] | None]
"""Of an entry: action, target's id, before, after."""


@dataclass(frozen=True)
class Actors:
    """A tenant's client, an operator, and the superuser, who sees what they did."""

    client: Client
    operator: Caller
    admin: Connection
    server: backends.Server
    monkeypatch: pytest.MonkeyPatch

    @property
    def tenant(self) -> Caller:
        assert self.client.caller
        return self.client.caller

    def does(self, method: str, path: str, body: object = None) -> tuple[Answer, list[Told]]:
        """Return the answer to a tenant's request, and what the log tells of it."""
        with self._watched() as seen:
            answer = self.client(method, path, body)
        request = answer.headers["x-request-id"]
        return answer, [self._by("key", self.tenant, request, e) for e in seen]

    def writes(self, sql: str, *parameters: object, as_operator: bool = False) -> list[Told]:
        """Return what the log tells of a statement that only a room of its own sends."""
        caller = self.operator if as_operator else self.tenant
        role, entry = ("map_operator", "operator") if as_operator else ("map_api", "tenant")
        with self._watched() as seen, connect(self.server, role) as conn, conn.transaction():
            conn.execute(
                f"select app.enter_{entry}(%s, %s, 'request', %s)".encode(),
                (caller.tenant_id, caller.key_id, ADDRESS),
            )
            conn.execute(sql.encode(), parameters)
        return [self._by("operator" if as_operator else "key", caller, "request", e) for e in seen]

    @contextmanager
    def _watched(self) -> Iterator[list[dict[str, Any]]]:
        """Yield a list that holds the block's entries once it is over, in their order."""
        [begin] = self.admin.execute("select clock_timestamp()").fetchone() or [None]
        seen: list[dict[str, Any]] = []
        yield seen
        seen += [
            entry
            for (entry,) in self.admin.execute(
                "select to_jsonb(l) from app.audit_log l where tenant_id <> %s"
                " and created_at between %s and clock_timestamp() order by created_at",
                (self.operator.tenant_id, begin),
            )
        ]

    @staticmethod
    def _by(actor: str, caller: Caller, request: str, entry: dict[str, Any]) -> Told:
        who = (entry["actor"], entry["key_id"], entry["address"], entry["request_id"])
        assert who == (actor, str(caller.key_id), ADDRESS, request)
        assert entry["action"].partition(".")[0] == entry["target_type"]
        return entry["action"], entry["target_id"], entry["before"], entry["after"]


@pytest.fixture
def actors(
    client: Client,
    operator: Caller,
    admin: Connection,
    postgres: backends.Server,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Actors]:
    with configured(secrets_key="local:" + base64.urlsafe_b64encode(bytes(32)).decode()):
        yield Actors(client, operator, admin, postgres, monkeypatch)


# ── What is done is told ─────────────────────────────────────────────────────────────────────────


def tools(actors: Actors) -> None:
    made, told = actors.does("POST", "/tools", TOOL | {"endpoint": ENDPOINT})
    tool = made.json["id"]
    fields = TOOL | {
        "id": tool,
        "parameters": None,
        "endpoint": TOLD_OF_ENDPOINT,
        "idempotent": False,
        "requires_approval": False,
    }
    assert told == [("tool.created", tool, None, fields)]
    _, told = actors.does("PUT", f"/tools/{tool}", {"name": "new", "idempotent": True})
    before, after = {"name": TOOL["name"], "idempotent": False}, {"name": "new", "idempotent": True}
    assert told == [("tool.updated", tool, before, after)]
    other = ENDPOINT | {"headers": {"Authorization": f"{HEADER} too"}}
    _, told = actors.does("PUT", f"/tools/{tool}", {"endpoint": other})
    endpoint = {"endpoint": TOLD_OF_ENDPOINT}
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
    assert (after["name"], after["sealed"]) == ("s", "***")
    _, told = actors.does("PUT", "/secrets/s", {"value": f"{SECRET} too"})
    assert told == [("secret.updated", "s", {"sealed": "***"}, {"sealed": "***"})]
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

    def change(to: str) -> list[Told]:
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
    where t.tgfoid in ('app.audit'::regproc, 'app.audit_agent_tools'::regproc)
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
            " union all select encode(sealed, 'hex') from app.secrets"
        )
    ]
    assert len(untold) >= 5
    assert not [secret for secret in (HEADER, SECRET, *untold) if secret in text]
    assert "only-the" not in actors.client("GET", "/audit?limit=100").text


# ── Nobody changes the log, and nothing escapes it ───────────────────────────────────────────────


@pytest.mark.parametrize(
    "attempt",
    [
        "update app.audit_log set action = 'nothing'",
        "update app.audit_log set created_at = now()",
        "delete from app.audit_log",
        "truncate app.audit_log",
        "insert into app.audit_log (action, actor) values ('a', 'platform')",
        "insert into app.audit_log (action, key_id) values ('a', gen_random_uuid())",
        "insert into app.audit_log (action, address) values ('a', '192.0.2.2')",
        "insert into app.audit_log (action, created_at) values ('a', '2024-01-01')",
    ],
)
@pytest.mark.parametrize("role", ["map_api", "map_operator"])
def test_the_apps_roles_can_neither_change_nor_remove_nor_backdate_an_entry(
    client: Client,
    tenant: Caller,
    operator: Caller,
    postgres: backends.Server,
    role: str,
    attempt: str,
) -> None:
    client.tool()
    caller, entry = (tenant, "enter_tenant") if role == "map_api" else (operator, "enter_operator")
    with connect(postgres, role) as conn, conn.transaction(force_rollback=True):
        conn.execute(
            f"select app.{entry}(%s, %s, '', '')".encode(), (caller.tenant_id, caller.key_id)
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
            conn.execute(attempt.encode())
    assert client("GET", "/audit?include_total=true").json["total"] == 1


NOT_AUDITED = {
    "executions INSERT": "the history itself tells of runs",
    "execution_steps INSERT": "so it does of steps",
    "idempotency_keys INSERT": "answers, of changes that are told",
    "idempotency_keys UPDATE": "the same",
    "usage_kept INSERT": "what the sweep keeps of history",
    "usage_kept UPDATE": "the same",
    "audit_log INSERT": "the log",
}
UNAUDITED = """
    select distinct c.relname || ' ' || p.name
    from pg_class c,
        (values ('INSERT', 4), ('DELETE', 8), ('UPDATE', 16)) p (name, bit),
        unnest(array['map_api', 'map_operator']) role
    where c.relnamespace = 'app'::regnamespace and c.relkind in ('r', 'p')
      and (c.relname = 'tenants' or exists (
          select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id'))
      and (has_table_privilege(role, c.oid, p.name)
           or p.name <> 'DELETE' and has_any_column_privilege(role, c.oid, p.name))
      and not exists (
          select from pg_trigger t
          where t.tgrelid = c.oid and t.tgtype & p.bit > 0 and t.tgenabled = 'O'
            and t.tgfoid in ('app.audit'::regproc, 'app.audit_agent_tools'::regproc))
"""


def unaudited(admin: Connection) -> set[str]:
    """What the app may do to a tenant's rows that no entry tells of."""
    return {name for (name,) in admin.execute(UNAUDITED)} - NOT_AUDITED.keys()


def test_whatever_the_app_may_write_is_audited_or_has_a_reason_not_to_be(
    admin: Connection,
) -> None:
    assert unaudited(admin) == set()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            "create table app.bad (tenant_id uuid); grant insert on app.bad to map_api",
            {"bad INSERT"},
        ),
        (
            "create table app.bad (tenant_id uuid);grant update, delete on app.bad to map_operator",
            {"bad UPDATE", "bad DELETE"},
        ),
        ("grant delete on app.api_keys to map_api; drop trigger audit on app.api_keys",
         {"api_keys INSERT", "api_keys UPDATE", "api_keys DELETE"}),
        ("alter table app.tools disable trigger audit",
         {"tools INSERT", "tools UPDATE", "tools DELETE"}),
        ("drop trigger audit on app.agents", {"agents INSERT", "agents UPDATE", "agents DELETE"}),
        ("drop trigger audit_added on app.agent_tools", {"agent_tools INSERT"}),
        ("drop trigger audit_removed on app.agent_tools", {"agent_tools DELETE"}),
        ("drop trigger audit on app.secrets",
         {"secrets INSERT", "secrets UPDATE", "secrets DELETE"}),
        ("drop trigger audit on app.tenants", {"tenants INSERT", "tenants UPDATE"}),
        ("drop trigger audit on app.executions", {"executions UPDATE"}),
        ("drop trigger audit on app.execution_steps", {"execution_steps UPDATE"}),
    ],
)  # fmt: skip
def test_what_is_not_audited_would_be_found(
    clean: None, admin: Connection, change: str, found: set[str]
) -> None:
    with admin.transaction(force_rollback=True):
        admin.execute(change.encode())
        assert unaudited(admin) == found


# ── Reading it ───────────────────────────────────────────────────────────────────────────────────


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


@pytest.fixture
def operating(postgres: backends.Server) -> Iterator[Callable[..., Answer]]:
    """Asks the operators' room, as it is when the router of the log is part of it."""
    with configured(database_user="map_operator"):
        yield lambda caller, query="": invoke(
            operators_room, "GET", f"/api/v1/admin/audit{query}", caller=caller
        )


def test_an_operator_reads_what_all_tenants_did_and_who_did_it(
    actors: Actors, other: Client, operating: Callable[..., Answer]
) -> None:
    with configured(database_user="map_api"):
        tool, _ = actors.client.tool(), other.tool()
    tenant = actors.tenant.tenant_id
    actors.writes("update app.tenants set name = 'new' where id = %s", tenant, as_operator=True)
    changed, theirs, own = operating(actors.operator).json["items"]
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
        assert operating(actors.operator, f"?include_total=true&{query}").json["total"] == total
    first = operating(actors.operator, "?limit=2").json
    assert first["items"] == [changed, theirs]
    assert operating(actors.operator, f"?cursor={first['next_cursor']}").json["items"] == [own]


def test_nobody_else_reads_it(
    actors: Actors, make_tenant: MakeTenant, operating: Callable[..., Answer]
) -> None:
    """Neither a tenant's key nor one that claims more than the database knows of it."""
    refused = operating(actors.tenant)
    assert (refused.status, refused.error_code) == (403, "INSUFFICIENT_SCOPE")
    [entry] = operating(actors.operator).json["items"]
    assert entry["tenant_id"] == str(actors.tenant.tenant_id)
    assert (entry["action"], entry["target_id"]) == ("access.refused", "GET /api/v1/admin/audit")
    posing = make_tenant("posing")
    claims = Caller(posing.tenant_id, posing.key_id, frozenset({api_keys.OPERATOR_SCOPE}), 100)
    assert operating(claims).error_code == "INVALID_API_KEY"


# ── What is refused ──────────────────────────────────────────────────────────────────────────────

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
    signature = "app.note_refusal(uuid, text, text, text, jsonb)"
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
            "select app.note_refusal(%s, 'access.refused', 'route', 'r', '{}')",
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
            wait_until(
                lambda: admin.execute(waiting_).rowcount == 3 or all(o.done() for o in others)
            )
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
        conn.execute("select app.note_refused_key(%s, '', '')", digests)
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
    signature = "app.note_refused_key(bytea[], text, text)"
    admin.execute(f"revoke execute on function {signature} from map_authorizer".encode())
    try:
        assert effect(send(KEY)) == "Deny"
    finally:
        admin.execute(f"grant execute on function {signature} to map_authorizer".encode())
    assert "a refused key was not recorded" in log.getvalue()
    assert KEY not in log.getvalue()
    assert refusals(admin) == 0
