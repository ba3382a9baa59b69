-- The approval, decided by this statement; no row unless it is waiting and has time left.
update app.execution_steps s
set decision = %(decision)s,
    comment = %(comment)s,
    decided_by = %(key_id)s,
    status = 'completed',
    finished_at = now()
where execution_id = %(id)s
  and number = %(step)s
  and kind = 'approval'
  and status = 'waiting'
  and expires_at > now()
  and exists (
      select from app.executions e
      where e.id = s.execution_id and e.status in ('queued', 'running', 'waiting_approval')
  )
returning decision, callback
