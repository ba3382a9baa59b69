-- The new agent with its tools. Violates agents_name_unique where the tenant has an agent of this
-- name, and agent_tools_tool_known where a tool is not the tenant's.
with agent as (
    insert into app.agents (name, role, description)
    values (%(name)s, %(role)s, %(description)s)
    returning *
),
linked as (
    insert into app.agent_tools (agent_id, tool_id)
    select agent.id, tool_id
    from agent, (select distinct unnest(%(tool_ids)s::uuid[])) as wanted (tool_id)
)
select agent.id, agent.name, agent.role, agent.description, agent.created_at, agent.updated_at,
       (select coalesce(jsonb_agg(t order by t.created_at, t.id), '[]')
        from app.tools t
        where t.id = any (%(tool_ids)s::uuid[])) as tools
from agent
