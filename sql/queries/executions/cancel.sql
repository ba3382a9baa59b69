-- The run's id, cancelled by this; no row if it is over already, or this tenant has none of this id.
-- Nothing more begins in it: each step asks for a run that is still running. Whoever waits for an
-- approval is woken by its callback.
update app.executions e
set status = 'cancelled', stop_reason = 'cancelled', finished_at = now()
where id = %(id)s and status in ('queued', 'running', 'waiting_approval')
returning e.id,
          (select s.callback
           from app.execution_steps s
           where s.execution_id = e.id and s.status = 'waiting'
           order by s.number desc
           limit 1) as callback
