-- The agent with its tools, oldest first, or no row where this tenant has none of this id.
select a.id, a.name, a.role, a.description,
       (select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', t.id, 'name', t.name, 'description', t.description,
                    'parameters', t.parameters, 'endpoint', t.endpoint,
                    'idempotent', t.idempotent, 'requires_approval', t.requires_approval
                )
                order by t.created_at, t.id
            ),
            '[]'
        )
        from app.agent_tools x
        join app.tools t on (t.tenant_id, t.id) = (x.tenant_id, x.tool_id)
        where x.agent_id = a.id) as tools
from app.agents a
where a.id = %(agent_id)s
