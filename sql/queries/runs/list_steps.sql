-- The steps of a run, in order, with all that its loop needs to continue.
select number, status, result, response, decision, comment,
       expires_at is not null and expires_at <= now() as expired
from app.execution_steps
where execution_id = %(id)s
order by number
