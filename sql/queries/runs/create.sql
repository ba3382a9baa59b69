-- The run, created by this statement, or what must be checked before one is created; no row if this
-- tenant has no such agent. Repeating it changes nothing. Violates executions_concurrent_runs where the
-- tenant has as many runs as it may have at once.
select is_created, definition, warning, runs_per_minute, concurrent_runs, tokens_per_day,
       spend_per_month_usd, budgeted_since, now, lease_until
from app.create_run(%(tenant_id)s, %(key_id)s, %(request_id)s, %(address)s, %(id)s, %(agent_id)s,
                    %(model)s, %(prompt)s, %(limits)s, %(is_queued)s, %(lease)s, %(may_create)s,
                    %(own_key)s, %(checked)s, %(warning)s, %(reserved_tokens)s, %(reserved_usd)s)
