-- The step, written down before its call goes out, with the most that it may use, and the tenant's
-- budgets as they are now; no row if the run is not this attempt's any more: over, cancelled or taken
-- by another. One that a crash cut off is taken over.
with live as (
    update app.executions
    set lease_until = now() + make_interval(secs => %(lease)s), steps = %(number)s
    where id = %(id)s and attempt = %(attempt)s and status = 'running'
    returning id, lease_until
),
step as (
    insert into app.execution_steps as s (
        execution_id, number, kind, status, attempt, tool, arguments, reserved_tokens, reserved_usd
    )
    select live.id, %(number)s, %(kind)s, 'running', %(attempt)s, %(tool)s, %(arguments)s,
           %(reserved_tokens)s, %(reserved_usd)s
    from live
    on conflict (tenant_id, execution_id, number) do update
    set attempt = excluded.attempt,
        started_at = now(),
        reserved_tokens = excluded.reserved_tokens,
        reserved_usd = excluded.reserved_usd
    where s.status = 'running'
    returning s.number
)
select step.number, live.lease_until, t.tokens_per_day, t.spend_per_month_usd, t.budgeted_since,
       now() as now
from step, live, app.tenants t
where t.id = app.tenant_id()
