-- How many tools tools/list returns from its first page to its last.
select count(*) as total
from app.tools t
where (%(name)s::text is null or t.name = %(name)s)
  and (%(agent_name)s::text is null or exists (
      select
      from app.agent_tools x
      join app.agents a on (a.tenant_id, a.id) = (x.tenant_id, x.agent_id)
      where x.tool_id = t.id and a.name = %(agent_name)s
  ))
