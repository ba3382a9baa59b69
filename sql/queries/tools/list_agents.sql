-- The agents that use a tool, oldest first, at most 100.
select a.id, a.name
from app.agent_tools x
join app.agents a on (a.tenant_id, a.id) = (x.tenant_id, x.agent_id)
where x.tool_id = %(id)s
order by a.created_at, a.id
limit 100
