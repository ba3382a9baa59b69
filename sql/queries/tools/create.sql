-- The new tool. Violates tools_name_unique where the tenant has a tool of this name.
insert into app.tools (name, description, parameters, endpoint, idempotent, requires_approval)
values (%(name)s, %(description)s, %(parameters)s, %(endpoint)s, %(idempotent)s,
        %(requires_approval)s)
returning id, name, description, parameters, endpoint, idempotent, requires_approval, created_at,
          updated_at
