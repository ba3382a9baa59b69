-- Ends a queued run that nobody will take; does nothing to one that was taken after all.
update app.executions
set status = 'failed', stop_reason = 'interrupted', finished_at = now()
where id = %(id)s and status = 'queued'
returning status
