-- Adds an audit entry to the log of the tenant whose key was sent and refused; none for a key that
-- never existed.
set local role map_keyring;
create or replace function app.log_refused_key(digests bytea[], request text, address text)
    returns void language plpgsql security definer set search_path = '' as $$
begin
    perform set_config('app.request_id', request, true), set_config('app.address', address, true);
    perform app.log_refusal(
        k.tenant_id, 'key.refused', 'key', k.id::text,
        jsonb_build_object('reason', case
            when k.revoked_at is not null then 'revoked'
            when k.expires_at <= now() then 'expired'
            else 'tenant ' || t.status end)
    )
    from app.api_keys k
    join app.tenants t on t.id = k.tenant_id
    where k.digest = any (digests)
      and (k.revoked_at is not null or k.expires_at <= now() or t.status <> 'active');
end
$$;

grant execute on function app.log_refused_key(bytea[], text, text) to map_authorizer;
