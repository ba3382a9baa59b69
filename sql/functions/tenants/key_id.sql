-- The key whose request this transaction serves, or NULL.
create or replace function app.key_id() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('app.key_id', true), '')::uuid;

grant execute on function app.key_id() to map_api, map_operator, map_keyring, map_janitor;
