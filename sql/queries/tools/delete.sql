-- The tool, deleted by this statement, or no row where this tenant has none of this id. Violates
-- agent_tools_tool_known while an agent uses it.
delete from app.tools
where id = %(id)s
returning id, name, description, parameters, endpoint, idempotent, requires_approval, created_at,
          updated_at
