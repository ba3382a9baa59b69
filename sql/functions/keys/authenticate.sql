-- One row if one of the digests is that of an active key of an active tenant, otherwise none. A key has
-- a digest under each version of the pepper, so while that is changed there is more than one.
set local role map_keyring;
create or replace function app.authenticate(digests bytea[])
    returns table (tenant_id uuid, key_id uuid, scopes text[], requests_per_minute integer)
    language plpgsql stable security definer set search_path = '' as $$
begin
    return query
        select k.tenant_id, k.id, k.scopes, t.requests_per_minute
        from app.api_keys k
        join app.tenants t on t.id = k.tenant_id
        where k.digest = any (digests)
          and k.revoked_at is null
          and (k.expires_at is null or k.expires_at > now())
          and t.status = 'active';
end
$$;

grant execute on function app.authenticate(bytea[]) to map_authorizer;
