-- The agents with their tools after a position, oldest first, ties by id. A filter or position that
-- is NULL is ignored.
select a.id, a.name, a.role, a.description, a.created_at, a.updated_at,
       (select coalesce(jsonb_agg(t order by t.created_at, t.id), '[]')
        from app.agent_tools x
        join app.tools t on (t.tenant_id, t.id) = (x.tenant_id, x.tool_id)
        where x.agent_id = a.id) as tools
from app.agents a
where (%(name)s::text is null or a.name = %(name)s)
  and (%(role)s::text is null or a.role = %(role)s)
  and (%(tool_name)s::text is null or exists (
      select
      from app.agent_tools x
      join app.tools t on (t.tenant_id, t.id) = (x.tenant_id, x.tool_id)
      where x.agent_id = a.id and t.name = %(tool_name)s
  ))
  and (%(after_time)s::timestamptz is null
       or (a.created_at, a.id) > (%(after_time)s, %(after_id)s::uuid))
order by a.created_at, a.id
limit %(limit)s offset %(offset)s
