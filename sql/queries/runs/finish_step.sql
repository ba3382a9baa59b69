-- The run's status, and when one of its steps was done and counted; no row if another attempt has
-- taken the step over. A step that was under way when its run was cancelled is still written down.
with step as (
    update app.execution_steps
    set status = %(step_status)s,
        result = %(result)s,
        response = %(step_response)s,
        input_tokens = %(input_tokens)s,
        output_tokens = %(output_tokens)s,
        cost_usd = %(cost_usd)s,
        finished_at = now()
    where execution_id = %(id)s
      and number = %(number)s
      and attempt = %(attempt)s
      and status = 'running'
    returning execution_id
)
update app.executions e
set input_tokens = e.input_tokens + %(input_tokens)s,
    output_tokens = e.output_tokens + %(output_tokens)s,
    cost_usd = e.cost_usd + %(cost_usd)s,
    crashes = 0
from step
where e.id = step.execution_id
returning e.status, now() as finished_at
