-- The agent, deleted by this statement, or no row where this tenant has none of this id.
delete from app.agents a
where a.id = %(id)s
returning a.id, a.name, a.role, a.description, a.created_at, a.updated_at, '[]'::jsonb as tools
