-- From here to its end, this transaction sees and writes the rows of this tenant alone; the audit log
-- notes the key, the request and the address. Raises MAP01 unless the key is an active key of this
-- active tenant, so that a revoked key stops at once, whatever the authorizer has cached. The check
-- itself runs under row level security, as the tenant.
create or replace function app.enter_tenant(
    tenant uuid, key uuid, request text default null, address text default null
)
    returns void language plpgsql security definer set search_path = '' as $$
begin
    perform set_config('app.tenant_id', tenant::text, true),
            set_config('app.key_id', key::text, true),
            set_config('app.request_id', coalesce(request, ''), true),
            set_config('app.address', coalesce(address, ''), true);
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

grant execute on function app.enter_tenant(uuid, uuid, text, text) to map_api, map_operator;
