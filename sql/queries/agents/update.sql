-- Changes and locks the agent until the transaction ends, so that what replaces its tools next sees
-- no other change to them; a NULL leaves a field as it is. Refused by agents_name_unique.
update app.agents
set name = coalesce(%(name)s, name),
    role = coalesce(%(role)s, role),
    description = coalesce(%(description)s, description),
    updated_at = now()
where id = %(id)s
