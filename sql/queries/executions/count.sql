-- How many runs executions/list returns from its first page to its last.
select count(*) as total
from app.executions e
where (%(agent_id)s::uuid is null or e.agent_id = %(agent_id)s)
  and (%(model)s::text is null or e.model = %(model)s)
  and (%(status)s::text is null or e.status = %(status)s)
  and (%(stop_reason)s::text is null or e.stop_reason = %(stop_reason)s)
  and (%(min_cost_usd)s::numeric is null or e.cost_usd >= %(min_cost_usd)s::numeric)
  and (%(min_duration_ms)s::bigint is null
       or e.finished_at - e.created_at >= %(min_duration_ms)s * interval '1 millisecond')
  and (%(created_after)s::timestamptz is null or e.created_at > %(created_after)s)
  and (%(created_before)s::timestamptz is null or e.created_at < %(created_before)s)
