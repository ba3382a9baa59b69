-- The secret, deleted by this statement, or no row where this tenant has none of this name.
delete from app.secrets
where name = %(name)s
returning id, name, created_at, updated_at
