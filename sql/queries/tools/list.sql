-- The tools after a position, oldest first, ties by id. A filter or position that is NULL is
-- ignored.
select t.id, t.name, t.description, t.parameters, t.endpoint, t.idempotent, t.requires_approval,
       t.created_at, t.updated_at
from app.tools t
where (%(name)s::text is null or t.name = %(name)s)
  and (%(agent_name)s::text is null or exists (
      select
      from app.agent_tools x
      join app.agents a on (a.tenant_id, a.id) = (x.tenant_id, x.agent_id)
      where x.tool_id = t.id and a.name = %(agent_name)s
  ))
  and (%(after_time)s::timestamptz is null
       or (t.created_at, t.id) > (%(after_time)s, %(after_id)s::uuid))
order by t.created_at, t.id
limit %(limit)s offset %(offset)s
