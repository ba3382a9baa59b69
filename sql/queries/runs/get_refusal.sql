-- What is told of the budget that ended the run: the result of its last step.
select s.result
from app.executions e
join app.execution_steps s on (s.tenant_id, s.execution_id) = (e.tenant_id, e.id) and s.number = e.steps
where e.id = %(id)s
