-- The approval that the run now waits for: nobody works on it, and its time stands still. No row if
-- the run is not this attempt's any more. One that it waited for already keeps its end.
with live as (
    update app.executions
    set status = 'waiting_approval',
        steps = %(number)s,
        crashes = 0,
        waiting_since = now(),
        lease_until = null,
        expires_at = now() + make_interval(secs => %(seconds)s::integer + %(lease)s::integer)
    where id = %(id)s and attempt = %(attempt)s and status = 'running'
    returning id
)
insert into app.execution_steps as s (
    execution_id, number, kind, status, attempt, tool, arguments, callback, expires_at
)
select live.id, %(number)s, 'approval', 'waiting', %(attempt)s, %(tool)s, %(arguments)s,
       %(callback)s, now() + make_interval(secs => %(seconds)s)
from live
on conflict (tenant_id, execution_id, number) do update
set callback = excluded.callback
where s.status = 'waiting'
returning s.number
