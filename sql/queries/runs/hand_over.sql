-- The run, queued anew for whoever takes it next; no row if it is not this attempt's any more.
update app.executions
set status = 'queued',
    background = true,
    crashes = 0,
    lease_owner = null,
    lease_until = null,
    waiting_since = now(),
    limits = %(limits)s,
    expires_at = now() + make_interval(secs => %(ends_in)s)
where id = %(id)s and attempt = %(attempt)s and status = 'running'
returning status
