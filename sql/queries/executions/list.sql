-- The runs beyond a position, newest first, ties by id. A filter or position that is NULL is ignored.
-- A position lies before created_before and replaces it: given two upper bounds, Postgres would start
-- at the looser one and read every row between them.
select e.id, e.agent_id, e.agent_name, e.model, e.prompt, e.response, e.status, e.stop_reason,
       e.warning, e.input_tokens, e.output_tokens, e.cost_usd, e.steps, e.created_at, e.started_at,
       e.finished_at, round(1000 * extract(epoch from e.finished_at - e.created_at))::bigint as duration_ms
from app.executions e
where (%(agent_id)s::uuid is null or e.agent_id = %(agent_id)s)
  and (%(model)s::text is null or e.model = %(model)s)
  and (%(status)s::text is null or e.status = %(status)s)
  and (%(stop_reason)s::text is null or e.stop_reason = %(stop_reason)s)
  and (%(min_cost_usd)s::numeric is null or e.cost_usd >= %(min_cost_usd)s::numeric)
  and (%(min_duration_ms)s::bigint is null
       or e.finished_at - e.created_at >= %(min_duration_ms)s * interval '1 millisecond')
  and (%(created_after)s::timestamptz is null or e.created_at > %(created_after)s)
  and (%(created_before)s::timestamptz is null or %(after_time)s::timestamptz is not null
       or e.created_at < %(created_before)s)
  and (%(after_time)s::timestamptz is null
       or (e.created_at, e.id) < (%(after_time)s, %(after_id)s::uuid))
order by e.created_at desc, e.id desc
limit %(limit)s offset %(offset)s
