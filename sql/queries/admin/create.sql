-- The new tenant, and which key is its first.
with made as (
    insert into app.tenants as t (name, requests_per_minute, runs_per_minute, concurrent_runs,
                                  tokens_per_day, spend_per_month_usd)
    select n.name, n.requests_per_minute, n.runs_per_minute, n.concurrent_runs, n.tokens_per_day,
           n.spend_per_month_usd
    from jsonb_populate_record(null::app.tenants, %(tenant)s) n
    returning t.id, t.name, t.status, app.limits_of(t) as limits, t.retention_days, t.created_at,
              t.delete_after
),
first as (
    insert into app.api_keys (tenant_id, id, name, digest, pepper_version, prefix, last_four, scopes,
                              expires_at)
    select id, %(key_id)s, %(key_name)s, %(digest)s, %(pepper_version)s, %(prefix)s, %(last_four)s,
           %(scopes)s, now() + make_interval(days => %(expires_in_days)s)
    from made
    returning id, expires_at
)
select made.*, first.id as key_id, first.expires_at as key_expires_at
from made, first
