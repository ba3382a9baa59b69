-- How far a run is, or no row where this tenant has none of this id.
select id, status, stop_reason, response, input_tokens, output_tokens, cost_usd, steps
from app.executions
where id = %(id)s
