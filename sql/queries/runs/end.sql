-- The run as it ended, once: no row if it is over already, or another attempt's.
update app.executions
set status = %(status)s,
    stop_reason = %(stop_reason)s,
    response = %(response)s,
    finished_at = now()
where id = %(id)s and attempt = %(attempt)s and status = 'running'
returning id, agent_id, agent_name, model, prompt, response, status, stop_reason, warning,
          input_tokens, output_tokens, cost_usd, steps, created_at, started_at, finished_at,
          round(1000 * extract(epoch from finished_at - created_at))::bigint as duration_ms,
          background, definition
