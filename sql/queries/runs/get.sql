-- The run with its agent's definition, or no row where this tenant has none of this id.
select id, agent_id, agent_name, model, prompt, response, status, stop_reason, warning,
       input_tokens, output_tokens, cost_usd, steps, created_at, started_at, finished_at,
       round(1000 * extract(epoch from finished_at - created_at))::bigint as duration_ms,
       background, definition
from app.executions
where id = %(id)s
