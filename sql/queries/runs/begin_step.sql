-- The step, written down before its call goes out; no row if the run is not this attempt's any more:
-- over, cancelled or taken by another. One that a crash cut off is taken over.
with live as (
    update app.executions
    set lease_until = now() + make_interval(secs => %(lease)s), steps = %(number)s
    where id = %(id)s and attempt = %(attempt)s and status = 'running'
    returning id
)
insert into app.execution_steps as s (
    execution_id, number, kind, status, attempt, tool, arguments
)
select live.id, %(number)s, %(kind)s, 'running', %(attempt)s, %(tool)s, %(arguments)s
from live
on conflict (tenant_id, execution_id, number) do update
set attempt = excluded.attempt, started_at = now()
where s.status = 'running'
returning s.number
