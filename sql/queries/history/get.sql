-- The execution, or no row where this tenant has none of this id.
select id, agent_id, agent_name, model, prompt, response, status, created_at
from app.executions
where id = %(id)s
