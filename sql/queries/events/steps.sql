-- The steps of a run from a number on, in order.
select number, kind, status, tool, arguments, result, decision, expires_at
from app.execution_steps
where execution_id = %(id)s and number >= %(since)s
order by number
