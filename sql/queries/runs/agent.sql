-- The agent with the names of its tools, oldest first, or no row where this tenant has none of this
-- id.
select a.id, a.name, a.role,
       array(select t.name
             from app.agent_tools x
             join app.tools t on (t.tenant_id, t.id) = (x.tenant_id, x.tool_id)
             where x.agent_id = a.id
             order by t.created_at, t.id) as tool_names
from app.agents a
where a.id = %(id)s
