-- The steps of a run, in order, with all that its loop needs to go on.
select number, kind, status, attempt, tool, arguments, result, response, input_tokens, output_tokens,
       cost_usd, callback, decision, comment, expires_at,
       expires_at is not null and expires_at <= now() as expired
from app.execution_steps
where execution_id = %(id)s
order by number
