-- The changed tool, or no row where this tenant has none of this id; a NULL leaves a field as it is.
update app.tools
set name = coalesce(%(name)s, name),
    description = coalesce(%(description)s, description),
    updated_at = now()
where id = %(id)s
returning id, name, description, created_at, updated_at
