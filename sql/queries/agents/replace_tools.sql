-- Makes tool_ids the agent's tools, or leaves them where it is NULL; does nothing where this tenant
-- has no such agent. Refused by agent_tools_tool_known where a tool is not the tenant's.
with taken as (
    delete from app.agent_tools
    where agent_id = %(id)s and tool_id <> all (%(tool_ids)s::uuid[])
)
insert into app.agent_tools (agent_id, tool_id)
select a.id, asked.tool_id
from app.agents a, (select distinct unnest(%(tool_ids)s::uuid[])) as asked (tool_id)
where a.id = %(id)s
on conflict do nothing
