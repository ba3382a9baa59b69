-- The changed tenant, or no row where none has this id or it is deleted. A field that `change`
-- lacks stays as it is; a null in it removes a limit.
update app.tenants t
set (name, requests_per_minute, runs_per_minute, concurrent_runs, tokens_per_day,
     spend_per_month_usd, retention_days)
    = (select c.name, c.requests_per_minute, c.runs_per_minute, c.concurrent_runs, c.tokens_per_day,
              c.spend_per_month_usd, c.retention_days
       from jsonb_populate_record(t, %(change)s) c)
where t.id = %(id)s and t.status <> 'deleted'
returning t.id, t.name, t.status, app.limits(to_jsonb(t)) as limits, t.retention_days, t.created_at,
          t.delete_after
