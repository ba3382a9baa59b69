"""Row level security, as the roles meet it that are subject to it."""

import psycopg
import pytest

from local import backends
from mini_agent.identity.callers import Caller
from tests.databases import Connection, connect, enter
from tests.integration.test_privileges import API_MAY


@pytest.fixture
def filled(admin: Connection, tenant: Caller, stranger: Caller) -> None:
    """Two tenants with a row in each table."""
    for caller in (tenant, stranger):
        with admin.transaction():
            enter(admin, caller)
            admin.execute(
                "with t as (insert into app.tools (name, description) values ('t', 't')"
                " returning id), a as (insert into app.agents (name, role, description)"
                " values ('a', 'a', 'a') returning id)"
                " insert into app.agent_tools (agent_id, tool_id) select a.id, t.id from a, t"
            )
            admin.execute(
                "insert into app.executions (agent_id, agent_name, model, prompt, status)"
                " select id, name, 'm', 'p', 'completed' from app.agents"
                " where tenant_id = app.tenant_id()"
            )
            admin.execute(
                "insert into app.execution_steps (execution_id, number, kind, status, attempt)"
                " select id, 1, 'model', 'completed', 1 from app.executions"
                " where tenant_id = app.tenant_id()"
            )
            admin.execute("insert into app.secrets (name, ciphertext) values ('s', '\\x00')")
            admin.execute(
                "insert into app.idempotency_keys (route, key, fingerprint)"
                " values ('r', 'k', '\\x00')"
            )
            admin.execute(
                "insert into app.daily_usage values (default, now(), 'm', %s, 'a', 1, 1, 1, 1)",
                (caller.key_id,),
            )
            # The triggers have written more of these.
            admin.execute("delete from app.audit_log where action <> 'tool.created'")


IN_PART = {"api_keys", "daily_usage", "tenants"}
"""Of these a tenant may not even name the column that says whose a row is."""


def row_for(table: str, tenant: Caller) -> str:
    """Return an INSERT of a copy of a tenant's row under another id."""
    columns = {
        "tools": "gen_random_uuid(), 'new', 'new'",
        "agents": "gen_random_uuid(), 'new', 'new', 'new'",
        "agent_tools": "gen_random_uuid(), gen_random_uuid()",
        "executions": "gen_random_uuid(), gen_random_uuid(), 'a', 'm', 'p', 'r', 'completed'",
        "execution_steps": "gen_random_uuid(), 1, 'model', 'completed', 1",
        "secrets": "gen_random_uuid(), 'new', '\\x00'",
        "idempotency_keys": "'r', 'new', '\\x00'",
        "audit_log": "'x', 'tool', 'x'",
    }[table]
    # Of an entry, who and when are not anybody's to write.
    named = "(tenant_id, action, target_type, target_id)" if table == "audit_log" else ""
    return f"insert into app.{table} {named} values ('{tenant.tenant_id}', {columns})"


def test_without_a_tenant_nothing_is_seen_and_nothing_written(
    postgres: backends.Server, tenant: Caller, filled: None
) -> None:
    with connect(postgres, "map_api") as conn:
        for table, may in API_MAY.items():
            assert conn.execute(f"select from app.{table}").rowcount == 0
            if "UPDATE" in may and table not in IN_PART:
                assert conn.execute(f"update app.{table} set tenant_id = tenant_id").rowcount == 0
            if "DELETE" in may:
                assert conn.execute(f"delete from app.{table}").rowcount == 0
            if table not in IN_PART:
                refused = pytest.raises(
                    psycopg.errors.InsufficientPrivilege, match="row-level security"
                )
                with refused:
                    conn.execute(row_for(table, tenant))


def test_the_tables_owner_too_sees_nothing_without_a_tenant(
    admin: Connection, filled: None
) -> None:
    with admin.transaction(force_rollback=True):
        admin.execute("set local role map_owner")
        for table in [*API_MAY, "tenants", "api_keys"]:
            assert admin.execute(f"select from app.{table}").rowcount == 0


def test_a_tenant_sees_its_own_rows_and_writes_none_for_another(
    postgres: backends.Server, tenant: Caller, stranger: Caller, filled: None
) -> None:
    with connect(postgres, "map_api") as conn, conn.transaction():
        enter(conn, tenant)
        for table, may in API_MAY.items():
            whose = "id" if table == "tenants" else "tenant_id"
            rows = conn.execute(f"select {whose} from app.{table}").fetchall()
            assert rows == [(tenant.tenant_id,)], table
            if table in IN_PART:
                with (
                    pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"),
                    conn.transaction(),
                ):
                    conn.execute(f"update app.{table} set {whose} = {whose}")
                continue
            writes = [row_for(table, stranger)]
            if "UPDATE" in may:
                writes.append(f"update app.{table} set tenant_id = '{stranger.tenant_id}'")
            for write in writes:
                with (
                    pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
                    conn.transaction(),
                ):
                    conn.execute(write)


def test_a_tenant_is_left_when_its_transaction_ends(
    postgres: backends.Server, tenant: Caller
) -> None:
    with connect(postgres, "map_api") as conn:
        for end in ("commit", "rollback"):
            conn.execute("begin")
            enter(conn, tenant)
            inside = conn.execute("select app.tenant_id()").fetchone()
            conn.execute(end)
            after = conn.execute("select app.tenant_id()").fetchone()
            assert (inside, after) == ((tenant.tenant_id,), (None,))


def test_a_tenant_is_not_entered_with_another_tenants_key(
    postgres: backends.Server, tenant: Caller, stranger: Caller, filled: None
) -> None:
    with connect(postgres, "map_api") as conn:
        conn.execute("begin")
        with pytest.raises(psycopg.Error) as refused:
            conn.execute("select app.enter_tenant(%s, %s)", (tenant.tenant_id, stranger.key_id))
        assert refused.value.sqlstate == "MAP01"
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            conn.execute("select from app.tools")
