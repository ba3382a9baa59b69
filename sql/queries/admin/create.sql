-- The new tenant, with the id and the end of its first key.
with new_tenant as (
    insert into app.tenants as t (name, requests_per_minute, runs_per_minute, concurrent_runs,
                                  tokens_per_day, spend_per_month_usd)
    select n.name, n.requests_per_minute, n.runs_per_minute, n.concurrent_runs, n.tokens_per_day,
           n.spend_per_month_usd
    from jsonb_populate_record(null::app.tenants, %(tenant)s) n
    returning t.id, t.name, t.status, app.limits(to_jsonb(t)) as limits, t.retention_days, t.created_at,
              t.delete_after
),
new_key as (
    insert into app.api_keys (tenant_id, id, name, digest, pepper_version, prefix, last_four, scopes,
                              expires_at)
    select id, %(key_id)s, %(key_name)s, %(digest)s, %(pepper_version)s, %(prefix)s, %(last_four)s,
           %(scopes)s, now() + make_interval(days => %(expires_in_days)s)
    from new_tenant
    returning id, expires_at
)
select new_tenant.*, new_key.id as key_id, new_key.expires_at as key_expires_at
from new_tenant, new_key
