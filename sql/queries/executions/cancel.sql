-- The run, cancelled by this statement, and the callback of the approval that it waits for; no row if
-- it is over already or this tenant has none of this id. No step starts after it: each one requires a
-- run that is still running.
update app.executions e
set status = 'cancelled', stop_reason = 'cancelled', finished_at = now()
where id = %(id)s and status in ('queued', 'running', 'waiting_approval')
returning (select s.callback
           from app.execution_steps s
           where s.execution_id = e.id and s.status = 'waiting'
           order by s.number desc
           limit 1) as callback
