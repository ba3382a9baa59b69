-- The run, with a new attempt that fences off every earlier one; no row if it is over, or another
-- owner still works on it. What it waited does not count against its deadline.
update app.executions
set status = 'running',
    attempt = attempt + 1,
    crashes = crashes + 1,
    lease_owner = %(owner)s,
    lease_until = now() + make_interval(secs => %(lease)s),
    started_at = coalesce(started_at, now()),
    deadline = coalesce(
        deadline + (now() - coalesce(waiting_since, now())),
        now() + make_interval(secs => (limits ->> 'timeout_seconds')::double precision)
    ),
    waiting_since = null,
    expires_at = now() + make_interval(
        secs => (limits ->> 'timeout_seconds')::double precision + %(lease)s::integer
    )
where id = %(id)s
  and status in ('queued', 'running', 'waiting_approval')
  and (lease_owner is null or lease_owner = %(owner)s or lease_until is null or lease_until < now())
returning id, agent_id, agent_name, model, prompt, definition, limits, background, attempt, crashes,
          input_tokens, output_tokens, cost_usd,
          extract(epoch from deadline - now())::double precision as seconds_left
