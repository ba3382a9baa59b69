-- Tenants with their limits, and their API keys.

-- A limit that is NULL is no limit. `budgeted_since` says since when the tenant has had a budget
-- without a break. A deleted tenant is purged, with all its rows, after `delete_after`.
create table app.tenants (
    id uuid primary key default gen_random_uuid(),
    name text not null,
    status text not null default 'active'
        constraint tenants_status_known check (status in ('active', 'suspended', 'deleted')),
    requests_per_minute integer not null default 100
        constraint tenants_requests_positive check (requests_per_minute > 0),
    runs_per_minute integer
        constraint tenants_runs_positive check (runs_per_minute > 0),
    concurrent_runs integer
        constraint tenants_concurrent_positive check (concurrent_runs > 0),
    tokens_per_day bigint
        constraint tenants_tokens_not_negative check (tokens_per_day >= 0),
    spend_per_month_usd numeric(18, 6)
        constraint tenants_spend_not_negative check (spend_per_month_usd >= 0),
    budgeted_since timestamptz,
    retention_days integer
        constraint tenants_retention_positive check (retention_days > 0),
    created_at timestamptz not null default now(),
    delete_after timestamptz,
    constraint tenants_deleted_has_date check ((status = 'deleted') = (delete_after is not null)),
    constraint tenants_platform_is_active
        check (id <> '00000000-0000-0000-0000-000000000000' or status = 'active')
);
create index tenants_by_created_at on app.tenants (created_at, id);

create table app.api_keys (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    name text not null,
    digest bytea not null constraint api_keys_digest_is_sha256 check (length(digest) = 32),
    pepper_version smallint not null,
    prefix text not null,
    last_four text not null,
    scopes text[] not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    primary key (tenant_id, id),
    constraint api_keys_tenant_known foreign key (tenant_id) references app.tenants (id),
    constraint api_keys_digest_unique unique (digest, tenant_id),
    constraint api_keys_operators_of_platform check (
        not scopes @> array['platform:admin'] or tenant_id = '00000000-0000-0000-0000-000000000000'
    )
);
create index api_keys_by_created_at on app.api_keys (tenant_id, created_at, id);

alter table app.tenants enable row level security;
alter table app.tenants force row level security;
create policy tenant_isolation on app.tenants
    using (id = app.tenant_id()) with check (id = app.tenant_id());

alter table app.api_keys enable row level security;
alter table app.api_keys force row level security;
create policy tenant_isolation on app.api_keys
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());

-- map_keyring cannot log in: it exists to own authenticate(), the one reader across tenants.
grant select on app.tenants, app.api_keys to map_keyring;
create policy keyring_reads on app.tenants for select to map_keyring using (true);
create policy keyring_reads on app.api_keys for select to map_keyring using (true);

-- A tenant reads its limits, and makes and ends keys, but never reads a digest.
grant select (id, runs_per_minute, concurrent_runs, tokens_per_day, spend_per_month_usd, budgeted_since)
    on app.tenants to map_api;
grant select (tenant_id, id, name, prefix, last_four, scopes, created_at, expires_at, revoked_at,
              last_used_at) on app.api_keys to map_api, map_operator;
grant insert (id, name, digest, pepper_version, prefix, last_four, scopes, expires_at)
    on app.api_keys to map_api;
grant update (expires_at, revoked_at) on app.api_keys to map_api;

-- An operator manages tenants and makes keys for them.
grant select, insert on app.tenants to map_operator;
grant update (name, status, requests_per_minute, runs_per_minute, concurrent_runs, tokens_per_day,
              spend_per_month_usd, retention_days, delete_after) on app.tenants to map_operator;
grant insert (id, tenant_id, name, digest, pepper_version, prefix, last_four, scopes, expires_at)
    on app.api_keys to map_operator;
create policy operator_manages on app.tenants to map_operator
    using (app.is_operator()) with check (app.is_operator());
create policy operator_manages on app.api_keys to map_operator
    using (app.is_operator()) with check (app.is_operator());

create trigger scopes_within_creator before insert or update of scopes on app.api_keys
    for each row execute function app.check_key_scopes();
create trigger budgeted_since before insert or update on app.tenants
    for each row execute function app.set_budgeted_since();

-- The platform itself, as the tenant of its operators' keys.
select set_config('app.tenant_id', '00000000-0000-0000-0000-000000000000', true);
insert into app.tenants (id, name) values (app.tenant_id(), 'Platform');
select set_config('app.tenant_id', '', true);
