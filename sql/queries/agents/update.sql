-- Changes the agent and locks it until the transaction ends, so that agents/replace_tools behind it
-- sees no concurrent change. A field that is NULL stays as it is. Violates agents_name_unique where
-- the tenant has another agent of this name.
update app.agents
set name = coalesce(%(name)s, name),
    role = coalesce(%(role)s, role),
    description = coalesce(%(description)s, description),
    updated_at = now()
where id = %(id)s
