-- The new tool; refused by tools_name_unique where the tenant has one of this name.
insert into app.tools (name, description)
values (%(name)s, %(description)s)
returning id, name, description, created_at, updated_at
