"""Nobody changes the audit log, and no write of the application escapes it."""

import psycopg
import pytest

from local import backends
from mini_agent.identity.callers import Caller
from tests.databases import Connection, connect
from tests.integration.client import Client


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
    "daily_usage INSERT": "what the sweep keeps of history",
    "daily_usage UPDATE": "the same",
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
            and t.tgfoid in ('app.add_audit_entry'::regproc,
                             'app.add_agent_tools_audit_entry'::regproc))
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
