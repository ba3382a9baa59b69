-- Tenants, their keys, and the two doors: authenticate (a key's digest becomes a tenant) and
-- enter_tenant (a transaction becomes a tenant's).

alter default privileges in schema app revoke execute on functions from public;
alter default privileges revoke execute on functions from public;
grant usage on schema app to map_api, map_authorizer, map_keyring;

-- After a transaction that entered a tenant the setting is '', not NULL.
create function app.tenant_id() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('app.tenant_id', true), '')::uuid;
grant execute on function app.tenant_id() to map_api, map_keyring;

create table app.tenants (
    id uuid primary key default gen_random_uuid(),
    name text not null,
    status text not null default 'active'
        constraint tenants_status_known check (status in ('active', 'suspended')),
    requests_per_minute integer not null default 100
        constraint tenants_limit_positive check (requests_per_minute > 0),
    created_at timestamptz not null default now()
);

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
    constraint api_keys_digest_unique unique (digest, tenant_id)
);

alter table app.tenants enable row level security;
alter table app.tenants force row level security;
create policy own_row on app.tenants
    using (id = app.tenant_id()) with check (id = app.tenant_id());

alter table app.api_keys enable row level security;
alter table app.api_keys force row level security;
create policy own_rows on app.api_keys
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());

-- map_keyring cannot log in: it exists to own authenticate(), the one reader across tenants.
grant select on app.tenants, app.api_keys to map_keyring;
create policy keyring_reads on app.tenants for select to map_keyring using (true);
create policy keyring_reads on app.api_keys for select to map_keyring using (true);

-- One row for a digest of an active key of an active tenant, none for anything else. More than one
-- digest, when the pepper is being changed: the key's under each version.
create function app.authenticate(digests bytea[])
    returns table (tenant_id uuid, key_id uuid, scopes text[], requests_per_minute integer)
    language sql stable security definer set search_path = ''
    begin atomic
        select k.tenant_id, k.id, k.scopes, t.requests_per_minute
        from app.api_keys k
        join app.tenants t on t.id = k.tenant_id
        where k.digest = any (digests)
          and k.revoked_at is null
          and (k.expires_at is null or k.expires_at > now())
          and t.status = 'active';
    end;
grant execute on function app.authenticate(bytea[]) to map_authorizer;

reset role;
grant create on schema app to map_keyring;
alter function app.authenticate(bytea[]) owner to map_keyring;
revoke create on schema app from map_keyring;
set local role map_owner;

-- The rest of this transaction sees and writes this tenant's rows alone. Raises MAP01 if the key is
-- not (or no longer) an active one of this tenant, so that a revoked key stops at once, whatever the
-- authorizer's cache says. It reads under row level security itself, as the tenant just entered.
create function app.enter_tenant(tenant uuid, key uuid) returns void
    language plpgsql security definer set search_path = '' as $$
begin
    perform set_config('app.tenant_id', tenant::text, true);
    if not exists (
        select
        from app.api_keys k
        join app.tenants t on t.id = k.tenant_id
        where k.tenant_id = tenant
          and k.id = key
          and k.revoked_at is null
          and (k.expires_at is null or k.expires_at > now())
          and t.status = 'active'
    ) then
        raise exception 'this key is not an active key of this tenant' using errcode = 'MAP01';
    end if;
end
$$;
grant execute on function app.enter_tenant(uuid, uuid) to map_api;
