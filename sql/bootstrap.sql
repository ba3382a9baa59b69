-- Roles, the schema, and the ledgers of migrations and stored functions. The database's administrator
-- runs it before each migration; safe to repeat. Nothing here can be left to a migration, which runs
-- as map_migrator and may not create roles.

-- One at a time: Postgres refuses one of two that change the same role or database at once.
select pg_advisory_xact_lock(hashtext('bootstrap'));

do $$
declare
    name text;
begin
    foreach name in array array['map_owner', 'map_keyring', 'map_janitor'] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I nologin', name);
        end if;
    end loop;
    foreach name in array array['map_migrator', 'map_api', 'map_authorizer', 'map_operator', 'map_sweeper'] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I login', name);
        end if;
        execute format('grant connect on database %I to %I', current_database(), name);
        execute format('alter role %I set timezone = %L', name, 'UTC');
        -- On RDS a member of rds_iam signs in with an IAM token and nothing else.
        if exists (select from pg_roles where rolname = 'rds_iam') then
            execute format('grant rds_iam to %I', name);
        end if;
    end loop;
    execute format('revoke all on database %I from public', current_database());
end
$$;

-- The migrator creates tables and most functions as map_owner, and some functions as map_keyring and
-- map_janitor, without inheriting what these may read.
grant map_owner to map_migrator;
grant map_keyring to map_migrator with inherit false;
grant map_janitor to map_migrator with inherit false;

-- The time limits are the roles', since a SET in a session would pin it to one client of the proxy.
alter role map_api set statement_timeout = '5s';
alter role map_api set lock_timeout = '4s';
alter role map_api set idle_in_transaction_session_timeout = '10s';
alter role map_authorizer set statement_timeout = '2s';
alter role map_operator set statement_timeout = '5s';
alter role map_operator set lock_timeout = '4s';
alter role map_operator set idle_in_transaction_session_timeout = '10s';
alter role map_sweeper set statement_timeout = '20s';
alter role map_sweeper set lock_timeout = '2s';
alter role map_migrator set lock_timeout = '10s';

-- An administrator who is no superuser needs these for what follows.
grant map_owner to current_user;
grant map_keyring, map_janitor to current_user with inherit false;

create schema if not exists app authorization map_owner;
set local role map_owner;
create table if not exists app.migrations (
    version text primary key,
    checksum bytea not null,
    applied_at timestamptz not null default now()
);
create table if not exists app.functions (
    name text primary key,
    checksum bytea not null,
    applied_at timestamptz not null default now()
);

-- Migrations change the schema's rights, too.
lock table app.migrations in exclusive mode;
grant usage on schema app
    to map_api, map_authorizer, map_operator, map_sweeper, map_keyring, map_janitor;

-- A function is for those alone to whom its file grants it.
alter default privileges revoke execute on functions from public;
set local role map_keyring;
alter default privileges revoke execute on functions from public;
set local role map_janitor;
alter default privileges revoke execute on functions from public;
