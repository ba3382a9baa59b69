"""What each role of the database may do: with tables, with columns, with stored functions."""

import pytest

from tests.databases import Connection
from tests.integration.test_catalogue import found

# On any table not named here it may do nothing.
API_MAY = {
    "tools": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "agents": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "agent_tools": {"SELECT", "INSERT", "DELETE"},
    "executions": {"SELECT", "INSERT", "UPDATE"},
    "execution_steps": {"SELECT", "INSERT", "UPDATE"},
    "secrets": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "idempotency_keys": {"SELECT", "INSERT", "UPDATE"},
    "api_keys": {"SELECT", "INSERT", "UPDATE"},
    "audit_log": {"SELECT", "INSERT"},
    "daily_usage": {"SELECT"},
    "tenants": {"SELECT"},
}
OPERATOR_MAY = {
    "tenants": {"SELECT", "INSERT", "UPDATE"},
    "api_keys": {"SELECT", "INSERT"},
    "audit_log": {"SELECT", "INSERT"},
    "executions": {"SELECT"},
    "daily_usage": {"SELECT"},
    "idempotency_keys": {"SELECT", "INSERT", "UPDATE"},
}
UNTOLD = {
    "map_api": {"api_keys.digest", "api_keys.pepper_version"},
    "map_operator": {
        *("api_keys.digest", "api_keys.pepper_version"),
        *("executions.prompt", "executions.response"),
        *("executions.definition", "executions.limits"),
    },
}
"""Columns of tables that a role may read some of, and which it may not."""


def privileges(admin: Connection, role: str) -> dict[str, set[str]]:
    """What a role may do with tables or any of their columns, its own and PUBLIC's grants."""
    may: dict[str, set[str]] = {}
    for table, privilege in admin.execute(
        """
        select c.relname, p from pg_class c,
            unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES',
                         'TRIGGER', 'MAINTAIN']) p
        where c.relnamespace = 'app'::regnamespace and c.relkind in ('r', 'p', 'f', 'v', 'm')
          and (has_table_privilege(%(role)s, c.oid, p)
               or p in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
               and has_any_column_privilege(%(role)s, c.oid, p))
        """,
        {"role": role},
    ):
        may.setdefault(table, set()).add(privilege)
    return may


def functions(admin: Connection, role: str) -> set[str]:
    return found(
        admin,
        "select proname from pg_proc where pronamespace = 'app'::regnamespace"
        f" and has_function_privilege('{role}', oid, 'execute')",
    )


def test_the_api_may_not_delete_history_nor_change_what_was_logged(admin: Connection) -> None:
    assert privileges(admin, "map_api") == API_MAY
    assert functions(admin, "map_api") == {
        *("tenant_id", "key_id", "is_operator", "enter_tenant", "enter_run"),
        *("redact", "log_refusal", "claim_run_slot", "create_run", "end_run"),
    }


def test_the_operator_may_manage_tenants_and_make_keys_and_nothing_else(admin: Connection) -> None:
    assert privileges(admin, "map_operator") == OPERATOR_MAY
    assert functions(admin, "map_operator") == {
        *("tenant_id", "key_id", "is_operator", "enter_tenant", "enter_operator"),
        *("redact", "log_refusal", "limits"),
    }


@pytest.mark.parametrize("role", UNTOLD)
def test_what_a_role_may_read_of_a_table_leaves_out(admin: Connection, role: str) -> None:
    readable = found(
        admin,
        f"""
        select c.relname || '.' || a.attname from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'app'::regnamespace and c.relkind = 'r'
          and has_column_privilege('{role}', c.oid, a.attnum, 'select')
        """,
    )
    assert not readable & UNTOLD[role]


def test_the_authorizer_may_authenticate_and_nothing_else(admin: Connection) -> None:
    assert privileges(admin, "map_authorizer") == {}
    assert functions(admin, "map_authorizer") == {"authenticate", "log_refused_key"}


def test_the_sweeper_may_sweep_and_nothing_else(admin: Connection) -> None:
    assert privileges(admin, "map_sweeper") == {}
    assert functions(admin, "map_sweeper") == {
        *("expire_runs_and_responses", "delete_old_runs", "purge_tenant", "record_key_use"),
    }


def test_who_sweeps_deletes_only_what_is_over_or_gone(admin: Connection) -> None:
    parts = ("execution_steps", "secrets", "agent_tools", "agents", "tools")
    gone = {part: {"SELECT", "DELETE"} for part in parts}
    assert privileges(admin, "map_janitor") == gone | {
        "tenants": {"SELECT", "UPDATE", "DELETE"},
        "executions": {"SELECT", "UPDATE", "DELETE"},
        "idempotency_keys": {"SELECT", "UPDATE", "DELETE"},
        "daily_usage": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "api_keys": {"SELECT", "UPDATE", "DELETE"},
        "audit_log": {"SELECT", "INSERT", "DELETE"},
    }


def test_a_tenant_that_goes_leaves_no_table_out(admin: Connection) -> None:
    tables = found(
        admin,
        """
        select c.relname from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
        where c.relnamespace = 'app'::regnamespace and c.relkind = 'r'
        """,
    )
    [source] = found(admin, "select prosrc from pg_proc where oid = 'app.purge_tenant'::regproc")
    assert tables
    assert {table for table in tables if f"'{table}'" in source} == tables
