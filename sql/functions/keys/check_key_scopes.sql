-- Trigger: a key that a tenant makes has no scope that the key of the request lacks. Violates
-- `api_keys_scopes_within_creator`.
create or replace function app.check_key_scopes() returns trigger
    language plpgsql set search_path = '' as $$
begin
    if current_user = 'map_api' and not new.scopes <@ coalesce(
        (select k.scopes from app.api_keys k where k.tenant_id = new.tenant_id and k.id = app.key_id()),
        '{}'
    ) then
        raise exception 'a key has no scope that its creator lacks'
            using errcode = 'check_violation', constraint = 'api_keys_scopes_within_creator';
    end if;
    return new;
end
$$;
