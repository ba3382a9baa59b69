-- One row, of one moment: the tenant's budgets, what it has used today and spent this month (UTC, by
-- when a call was done), and what calls under way may use yet. A call whose lease is over has nobody
-- who would finish it; one whose run was cancelled has.
select t.tokens_per_day, t.spend_per_month_usd, t.budgeted_since, now() as now,
       (select coalesce(sum(s.input_tokens + s.output_tokens), 0)::bigint
        from app.execution_steps s
        where s.kind = 'model' and s.finished_at >= date_trunc('day', now(), 'UTC')) as tokens,
       (select coalesce(sum(s.cost_usd), 0)
        from app.execution_steps s
        where s.kind = 'model' and s.finished_at >= date_trunc('month', now(), 'UTC'))
       + (select coalesce(sum(k.cost_usd), 0)
          from app.daily_usage k
          where k.day >= date_trunc('month', now() at time zone 'UTC')::date) as usd,
       (select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'step', s.execution_id || ':' || s.number,
                    'tokens', s.reserved_tokens,
                    'usd', s.reserved_usd::text,
                    'lease_until', e.lease_until
                )
            ),
            '[]'
        )
        from app.execution_steps s
        join app.executions e on (e.tenant_id, e.id) = (s.tenant_id, s.execution_id)
        where s.kind = 'model'
          and s.status = 'running'
          and s.started_at > now() - interval '1 day'
          and s.reserved_tokens > 0
          and e.lease_until > now()) as pending_calls
from app.tenants t
where t.id = app.tenant_id()
