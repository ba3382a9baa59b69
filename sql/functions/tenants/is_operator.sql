-- Whether this transaction may work on every tenant. Not written as `= 'yes'`: the planner estimates
-- that to hold for one row in 200, and sorts rows that it could read in order.
create or replace function app.is_operator() returns boolean
    language sql stable parallel safe
    return coalesce(current_setting('app.operator', true), '') <> '';

grant execute on function app.is_operator() to map_api, map_operator, map_keyring, map_janitor;
