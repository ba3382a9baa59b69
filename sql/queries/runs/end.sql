-- The run as it ended, with its last step, by this statement; no row if it is over already or another
-- attempt's. Repeating it changes nothing.
select warning, input_tokens_used as input_tokens, output_tokens_used as output_tokens,
       cost as cost_usd, steps, created_at, started_at, finished_at
from app.end_run(%(tenant_id)s, %(id)s, %(attempt)s, %(status)s, %(stop_reason)s, %(response)s, %(number)s,
                 %(step_status)s, %(result)s, %(step_response)s, %(input_tokens)s, %(output_tokens)s,
                 %(cost_usd)s)
