-- The tenant that this transaction has entered, or NULL. A setting from an earlier transaction of the
-- session is '', not NULL.
create or replace function app.tenant_id() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('app.tenant_id', true), '')::uuid;

grant execute on function app.tenant_id() to map_api, map_operator, map_keyring, map_janitor;
