-- How many executions history/list would give from its first page to its last.
select count(*) as total
from app.executions e
where (%(agent_id)s::uuid is null or e.agent_id = %(agent_id)s)
  and (%(model)s::text is null or e.model = %(model)s)
  and (%(status)s::text is null or e.status = %(status)s)
  and (%(created_after)s::timestamptz is null or e.created_at > %(created_after)s)
  and (%(created_before)s::timestamptz is null or e.created_at < %(created_before)s)
