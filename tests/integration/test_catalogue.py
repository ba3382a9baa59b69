"""What the migrated database's own catalogue says about who can reach what.

Each sweep returns what breaks its rule, and BREACHES shows that it would find it.
"""

from collections.abc import Callable

import pytest

from tests.databases import Connection

JANITORS = (
    "'executions.janitor_ends', 'idempotency_keys.janitor_deletes', 'daily_usage.janitor_adds_up',"
    " 'tenants.janitor_reads', 'api_keys.janitor_reads', 'api_keys.janitor_records',"
    " 'audit_log.janitor_adds'"
)
OWN_ROWS = (
    "case c.relname when 'tenants' then '(id = app.tenant_id())'"
    " else '(tenant_id = app.tenant_id())' end"
)
Sweep = Callable[[Connection], set[str]]


def found(admin: Connection, query: str) -> set[str]:
    return {name for (name,) in admin.execute(query).fetchall()}


def tables_open_to_other_tenants(admin: Connection) -> set[str]:
    """Not FORCE row level security with a policy tenant_isolation of all commands and roles."""
    return found(
        admin,
        f"""
        select c.relname from pg_class c
        where c.relnamespace = 'app'::regnamespace and c.relkind in ('r', 'p', 'f')
          and c.relname not in ('migrations', 'functions')
          and not (c.relrowsecurity and c.relforcerowsecurity and exists (
              select from pg_policy p
              where p.polrelid = c.oid and p.polcmd = '*' and p.polroles = '{{0}}'
                and pg_get_expr(p.polqual, p.polrelid) = {OWN_ROWS}
                and pg_get_expr(p.polwithcheck, p.polrelid) = {OWN_ROWS}))
        """,
    )


def policies_past_the_tenant(admin: Connection) -> set[str]:
    """Permissive policies add up: every one must be the tenant's, but of roles nobody is."""
    return found(
        admin,
        f"""
        select c.relname || '.' || p.polname from pg_policy p
        join pg_class c on c.oid = p.polrelid
        where (pg_get_expr(p.polqual, p.polrelid) <> {OWN_ROWS}
               or pg_get_expr(p.polwithcheck, p.polrelid) <> {OWN_ROWS})
          and not (p.polroles = array['map_keyring'::regrole::oid]
                   and (p.polcmd = 'r' or c.relname = 'audit_log'))
          and not (p.polroles = array['map_janitor'::regrole::oid]
                   and (c.relname || '.' || p.polname in ({JANITORS})
                        or pg_get_expr(p.polqual, p.polrelid)
                           in ('app.is_purgeable(tenant_id)', 'app.is_purgeable(id)')
                           and coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'false')
                               = 'false'))
          and not (p.polroles = array['map_operator'::regrole::oid]
                   and pg_get_expr(p.polqual, p.polrelid) = 'app.is_operator()'
                   and coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'app.is_operator()')
                       = 'app.is_operator()')
        """,
    )


def tenant_ids_that_may_be_null(admin: Connection) -> set[str]:
    """A foreign key with a NULL in it is not checked."""
    return found(
        admin,
        """
        select c.relname from pg_class c
        where c.relnamespace = 'app'::regnamespace and c.relkind in ('r', 'p', 'f')
          and c.relname not in ('migrations', 'functions', 'tenants')
          and not exists (select from pg_attribute a where a.attrelid = c.oid
                          and a.attname = 'tenant_id' and a.attnotnull)
        """,
    )


def keys_without_a_tenant(admin: Connection) -> set[str]:
    """Primary keys, unique constraints and unique indexes across tenants."""
    return found(
        admin,
        """
        select i.indexrelid::regclass::text from pg_index i
        join pg_class c on c.oid = i.indrelid
        where c.relnamespace = 'app'::regnamespace and i.indisunique
          and c.relname not in ('migrations', 'functions', 'tenants')
          and not exists (
              select from pg_attribute a
              where a.attrelid = c.oid and a.attname = 'tenant_id'
                and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
        """,
    )


def references_without_a_tenant(admin: Connection) -> set[str]:
    """Foreign keys that do not tie tenant_id to the tenant of what they refer to."""
    return found(
        admin,
        """
        select k.conname from pg_constraint k
        where k.connamespace = 'app'::regnamespace and k.contype = 'f'
          and not exists (
              select from unnest(k.conkey, k.confkey) as pair (here, there)
              join pg_attribute a on (a.attrelid, a.attnum) = (k.conrelid, pair.here)
              join pg_attribute b on (b.attrelid, b.attnum) = (k.confrelid, pair.there)
              where a.attname = 'tenant_id'
                and b.attname = case when k.confrelid = 'app.tenants'::regclass
                                     then 'id' else 'tenant_id' end)
        """,
    )


def views_with_their_owners_eyes(admin: Connection) -> set[str]:
    """Views that are not security_invoker, and materialized views, which have no policies."""
    return found(
        admin,
        """
        select c.relname from pg_class c
        where c.relnamespace = 'app'::regnamespace
          and (c.relkind = 'm' or c.relkind = 'v'
               and not coalesce('security_invoker=true' = any (c.reloptions), false))
        """,
    )


def functions_for_everyone(admin: Connection) -> set[str]:
    return found(
        admin,
        """
        select p.proname from pg_proc p
        where p.pronamespace = 'app'::regnamespace
          and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                      where a.grantee = 0)
        """,
    )


def definers_with_a_callers_search_path(admin: Connection) -> set[str]:
    return found(
        admin,
        """
        select p.proname from pg_proc p
        where p.pronamespace = 'app'::regnamespace and p.prosecdef
          and not coalesce('search_path=""' = any (p.proconfig), false)
        """,
    )


def roles_above_their_station(admin: Connection) -> set[str]:
    """App roles with an attribute that passes policies, or in the place of another role."""
    return found(
        admin,
        """
        select r.rolname from pg_roles r
        where r.rolname like 'map\\_%' and (
            r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb or r.rolreplication
            or (r.rolname in ('map_owner', 'map_keyring', 'map_janitor')) = r.rolcanlogin
            or r.rolname <> 'map_migrator'
               and exists (select from pg_auth_members m where m.member = r.oid))
        """,
    )


def logins_that_own_something(admin: Connection) -> set[str]:
    return found(
        admin,
        """
        select r.rolname from pg_roles r
        where r.rolname in ('map_api', 'map_authorizer', 'map_operator', 'map_sweeper',
                            'map_migrator') and exists (
            select from pg_shdepend d where d.refclassid = 'pg_authid'::regclass
              and d.refobjid = r.oid and d.deptype = 'o')
        """,
    )


def places_where_a_login_may_create(admin: Connection) -> set[str]:
    return found(
        admin,
        """
        select r.rolname || ' in ' || n.nspname from pg_roles r, pg_namespace n
        where r.rolname in ('map_api', 'map_authorizer', 'map_operator', 'map_sweeper')
          and has_schema_privilege(r.oid, n.oid, 'create')
        union all
        select r.rolname || ' ' || p from pg_roles r, unnest(array['create', 'temporary']) p
        where r.rolname in ('map_api', 'map_authorizer', 'map_operator', 'map_sweeper')
          and has_database_privilege(r.oid, current_database(), p)
        """,
    )


BREACHES: list[tuple[Sweep, str, str]] = [
    (tables_open_to_other_tenants, "create table app.bad (tenant_id uuid)", "bad"),
    (tables_open_to_other_tenants, "alter table app.tools no force row level security", "tools"),
    (tables_open_to_other_tenants, "alter table app.tools disable row level security", "tools"),
    (tables_open_to_other_tenants, "drop policy tenant_isolation on app.agents", "agents"),
    (
        tables_open_to_other_tenants,
        "alter policy tenant_isolation on app.agents with check (true)",
        "agents",
    ),
    (
        policies_past_the_tenant,
        "alter policy tenant_isolation on app.tools using (true)",
        "tools.tenant_isolation",
    ),
    (policies_past_the_tenant, "create policy p on app.tools using (true)", "tools.p"),
    (policies_past_the_tenant, "create policy p on app.tools with check (true)", "tools.p"),
    (policies_past_the_tenant, "create policy p on app.tools for select using (true)", "tools.p"),
    (
        policies_past_the_tenant,
        "create policy p on app.tools to map_operator using (true)",
        "tools.p",
    ),
    (
        policies_past_the_tenant,
        "alter policy janitor_purges on app.tools using (true)",
        "tools.janitor_purges",
    ),
    (tenant_ids_that_may_be_null, "create table app.bad (tenant_id uuid)", "bad"),
    (tenant_ids_that_may_be_null, "create table app.bad (id uuid)", "bad"),
    (keys_without_a_tenant, "alter table app.tools add constraint c unique (id)", "app.c"),
    (keys_without_a_tenant, "create unique index i on app.tools (lower(name))", "app.i"),
    (keys_without_a_tenant, "create unique index i on app.tools (id) include (tenant_id)", "app.i"),
    (
        keys_without_a_tenant,
        "create table app.bad (tenant_id uuid, id uuid primary key)",
        "app.bad_pkey",
    ),
    (
        references_without_a_tenant,
        """alter table app.tools add constraint u unique (id);
        alter table app.agent_tools add constraint c
            foreign key (tool_id) references app.tools (id)""",
        "c",
    ),
    (
        references_without_a_tenant,
        """alter table app.tools add constraint u unique (id, tenant_id);
        alter table app.agent_tools add constraint c
            foreign key (tenant_id, tool_id) references app.tools (id, tenant_id)""",
        "c",
    ),
    (views_with_their_owners_eyes, "create view app.bad as select * from app.tools", "bad"),
    (
        views_with_their_owners_eyes,
        "create view app.bad with (security_invoker=false) as select * from app.tools",
        "bad",
    ),
    (
        views_with_their_owners_eyes,
        "create materialized view app.bad as select * from app.tools",
        "bad",
    ),
    (functions_for_everyone, "create function app.bad() returns int return 1", "bad"),
    (
        functions_for_everyone,
        "grant execute on function app.authenticate(bytea[]) to public",
        "authenticate",
    ),
    (
        definers_with_a_callers_search_path,
        "create function app.bad() returns int security definer return 1",
        "bad",
    ),
    (
        definers_with_a_callers_search_path,
        "alter function app.enter_tenant reset search_path",
        "enter_tenant",
    ),
    (roles_above_their_station, "alter role map_api bypassrls", "map_api"),
    (roles_above_their_station, "alter role map_owner login", "map_owner"),
    (roles_above_their_station, "grant map_owner to map_api", "map_api"),
    (roles_above_their_station, "grant pg_read_all_data to map_authorizer", "map_authorizer"),
    (
        logins_that_own_something,
        "create view app.bad as select 1; alter view app.bad owner to map_api",
        "map_api",
    ),
    (places_where_a_login_may_create, "grant create on schema app to map_api", "map_api in app"),
    (
        places_where_a_login_may_create,
        "grant temporary on database map to public",
        "map_authorizer temporary",
    ),
]
SWEEPS = list(dict.fromkeys(sweep for sweep, _, _ in BREACHES))


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_migrated_database_has_none_of(admin: Connection, sweep: Sweep) -> None:
    assert sweep(admin) == set()


@pytest.mark.parametrize(("sweep", "change", "breach"), BREACHES)
def test_a_sweep_finds_what_it_is_for(
    clean: None, admin: Connection, sweep: Sweep, change: str, breach: str
) -> None:
    with admin.transaction(force_rollback=True):
        admin.execute(change.encode())
        assert breach in sweep(admin)
