-- The execution, or no row where this tenant has none of this id.
select id, agent_id, agent_name, model, prompt, response, status, created_at,
       stop_reason, input_tokens, output_tokens, cost_usd, steps,
       round(1000 * extract(epoch from finished_at - created_at))::integer as duration_ms
from app.executions
where id = %(id)s
