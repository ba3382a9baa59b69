-- The limits among a tenant's fields, given as `to_jsonb` of its row; NULL for no limit.
create or replace function app.limits(tenant jsonb) returns jsonb
    language sql immutable parallel safe
    return jsonb_build_object(
        'requests_per_minute', tenant -> 'requests_per_minute',
        'runs_per_minute', tenant -> 'runs_per_minute',
        'concurrent_runs', tenant -> 'concurrent_runs',
        'tokens_per_day', tenant -> 'tokens_per_day',
        'spend_per_month_usd', tenant -> 'spend_per_month_usd'
    );

grant execute on function app.limits(jsonb) to map_operator;
