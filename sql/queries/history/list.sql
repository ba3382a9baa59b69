-- Executions beyond a position, newest first, ties by id; a NULL filter or position counts as none.
-- A position lies before created_before and stands in for it: of two upper bounds Postgres would
-- begin at the looser one, and read all rows between them.
select e.id, e.agent_id, e.agent_name, e.model, e.prompt, e.response, e.status, e.created_at
from app.executions e
where (%(agent_id)s::uuid is null or e.agent_id = %(agent_id)s)
  and (%(model)s::text is null or e.model = %(model)s)
  and (%(status)s::text is null or e.status = %(status)s)
  and (%(created_after)s::timestamptz is null or e.created_at > %(created_after)s)
  and (%(created_before)s::timestamptz is null or %(after_time)s::timestamptz is not null
       or e.created_at < %(created_before)s)
  and (%(after_time)s::timestamptz is null
       or (e.created_at, e.id) < (%(after_time)s, %(after_id)s::uuid))
order by e.created_at desc, e.id desc
limit %(limit)s offset %(offset)s
