-- The run, or no row where this tenant has none of this id.
select id, agent_id, agent_name, model, prompt, response, status, stop_reason, warning,
       input_tokens, output_tokens, cost_usd, steps, created_at, started_at,
       coalesce(finished_at, case when definition is null then created_at end) as finished_at
from app.executions
where id = %(id)s
