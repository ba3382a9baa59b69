-- The steps of a run, in order; none where this tenant has no such run.
select number, kind, status, tool, arguments, result, input_tokens, output_tokens, cost_usd, decision,
       comment, expires_at, started_at, finished_at,
       round(1000 * extract(epoch from finished_at - started_at))::integer as duration_ms
from app.execution_steps
where execution_id = %(id)s
order by number
