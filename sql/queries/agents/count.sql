-- How many agents agents/list returns from its first page to its last.
select count(*) as total
from app.agents a
where (%(name)s::text is null or a.name = %(name)s)
  and (%(role)s::text is null or a.role = %(role)s)
  and (%(tool_name)s::text is null or exists (
      select
      from app.agent_tools x
      join app.tools t on (t.tenant_id, t.id) = (x.tenant_id, x.tool_id)
      where x.agent_id = a.id and t.name = %(tool_name)s
  ))
