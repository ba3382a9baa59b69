-- From here to its end, this transaction may work on every tenant, as far as map_operator's rights go.
-- Raises MAP01 unless the key is an active operator's key.
create or replace function app.enter_operator(tenant uuid, key uuid, request text, address text)
    returns void language plpgsql security definer set search_path = '' as $$
begin
    perform app.enter_tenant(tenant, key, request, address);
    if not exists (
        select
        from app.api_keys k
        where k.tenant_id = tenant and k.id = key and k.scopes @> array['platform:admin']
    ) then
        raise exception 'this key is not an operator''s' using errcode = 'MAP01';
    end if;
    perform set_config('app.operator', 'yes', true);
end
$$;

grant execute on function app.enter_operator(uuid, uuid, text, text) to map_operator;
