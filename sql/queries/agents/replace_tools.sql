-- Makes tool_ids the agent's tools, or leaves its tools alone where tool_ids is NULL or this tenant
-- has no such agent. Violates agent_tools_tool_known where a tool is not the tenant's.
with removed as (
    delete from app.agent_tools
    where agent_id = %(id)s and tool_id <> all (%(tool_ids)s::uuid[])
)
insert into app.agent_tools (agent_id, tool_id)
select a.id, wanted.tool_id
from app.agents a, (select distinct unnest(%(tool_ids)s::uuid[])) as wanted (tool_id)
where a.id = %(id)s
on conflict do nothing
