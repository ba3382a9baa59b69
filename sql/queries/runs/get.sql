-- The run as its caller is told of it, or no row where this tenant has none of this id.
select id, agent_id, agent_name, model, prompt, response, status, stop_reason, warning, background,
       definition, input_tokens, output_tokens, cost_usd, steps, created_at, finished_at,
       (select s.result
        from app.execution_steps s
        where s.execution_id = e.id and s.number = e.steps and e.stop_reason = 'budget_exceeded'
       ) as refusal
from app.executions e
where id = %(id)s
