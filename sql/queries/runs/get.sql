-- The run as its caller is told of it, or no row where this tenant has none of this id.
select id, agent_id, agent_name, model, prompt, response, status, stop_reason, warning, background,
       definition, input_tokens, output_tokens, cost_usd, steps, created_at, finished_at
from app.executions
where id = %(id)s
